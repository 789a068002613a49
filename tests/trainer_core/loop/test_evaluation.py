"""Evaluation counts each sample once, on any number of ranks, and leaves the model as it found it."""

import numpy as np
import pytest
import torch
from torch import nn

from schemas.model import ModelConfig
from schemas.training import TrainingConfig
from trainer_core.data.samples import ArraySamples
from trainer_core.loop.evaluation import Evaluation, evaluating
from trainer_core.loop.forward import Forward
from trainer_core.loop.losses import build_loss
from trainer_core.loop.metrics.metrics import build_figures
from trainer_core.loop.precision import Precision
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.recovery.memory import Memory
from trainer_core.loop.recovery.moment import Moment
from trainer_core.loop.sources import Resident
from trainer_core.models.file import ModelFile
from trainer_core.stop import Stop

CPU = torch.device("cpu")
BATCH = 4


class OneOf(Ranks):
    """Rank ``index`` of ``world``, whose sums stay its own."""

    def __init__(self, index: int, world: int) -> None:
        self.index, self.world = index, world


def sums(model: nn.Module, samples: ArraySamples, forward: Forward, ranks: Ranks, stop: Stop | None = None):
    """What one rank has summed after an evaluation, and the figures it computed."""
    figures = build_figures("classification", CPU, None)
    evaluation = Evaluation(
        Resident(samples.arrays, CPU),
        len(samples),
        BATCH,
        forward,
        figures,
        ranks,
        CPU,
        stop or Stop(),
        Memory(BATCH),
        Moment(),
    )
    computed = evaluation.run(model)
    return figures.state(), computed


@pytest.fixture
def forward(bench) -> Forward:
    """A forward pass with cross-entropy."""
    loss = build_loss(TrainingConfig(), "classification", None, CPU)
    return Forward(loss, Precision("asked for"), ModelFile.load(bench.assignment()), ModelConfig())


def drawn(count: int) -> ArraySamples:
    generator = np.random.default_rng(count)
    return ArraySamples(
        generator.normal(size=(count, 6)).astype(np.float32), generator.integers(0, 3, count).astype(np.int64)
    )


@pytest.mark.parametrize("world", [2, 3])
def test_any_number_of_samples_on_several_ranks_equals_one_process(forward, world):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    for count in range(1, 2 * world * BATCH + 2):
        samples = drawn(count)
        whole, figures = sums(model, samples, forward, Ranks())
        parts = [sums(model, samples, forward, OneOf(index, world))[0] for index in range(world)]
        for name, tensor in whole.items():
            together = sum(part[name] for part in parts if part[name].shape == tensor.shape)
            assert torch.equal(together, tensor), (count, name)
        assert whole["loss"][1] == count
        assert figures is not None


def test_the_model_is_left_as_it_was(forward):
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    sums(model, drawn(9), forward, Ranks())
    assert [module.training for module in model] == [True, False, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in model.parameters())


class Watching(nn.Module):
    """Notes whether a pass would keep its activations."""

    kept = False

    def forward(self, inputs):
        self.kept |= torch.is_grad_enabled()
        return inputs


def test_no_activation_is_kept(forward):
    model = nn.Sequential(nn.Linear(6, 3), Watching())
    sums(model, drawn(9), forward, Ranks())
    assert not model[1].kept


class Raises(nn.Module):
    """A model that cannot be evaluated."""

    def forward(self, inputs):
        assert self.training, "evaluated"


def test_flags_come_back_after_an_error():
    model = nn.Sequential(nn.Dropout(0.5), Raises())
    with pytest.raises(AssertionError, match="evaluated"), evaluating(model):
        model(torch.ones(1))
    assert all(module.training for module in model.modules())


def test_a_request_to_stop_leaves_no_half_figures(forward):
    stop = Stop()
    stop.requested = True
    assert sums(nn.Linear(6, 3), drawn(9), forward, Ranks(), stop)[1] is None
