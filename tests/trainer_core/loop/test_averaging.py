"""Averaged weights: the mean that was promised, evaluated and kept, and the same after a resume."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from schemas.averaging import WeightAveraging
from schemas.events import CheckpointSaved, EpochCompleted
from trainer_core.checkpoints.manifest import read_manifest
from trainer_core.checkpoints.snapshot import load_snapshot
from trainer_core.failure import Failure
from trainer_core.loop.averaging import build_averaging

NORMED = """
import torch
from torch import nn


def build_model():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
"""
EMA = {"weightAveraging": {"method": "ema", "decay": 0.9}}
SWA = {"weightAveraging": {"method": "swa", "start": 0.5}}


def nothing(_model: nn.Module) -> None:
    """No statistics to settle."""


def test_an_exponential_mean_is_the_recursion_of_its_definition():
    model = nn.Linear(3, 2)
    expected = model.weight.detach().clone()
    averaging = build_averaging(model, WeightAveraging(method="ema", decay=0.5), 1, nothing)
    for step in range(20):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3))
        averaging.follow(stepped=True)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    assert torch.allclose(averaging.evaluated().get_parameter("weight"), expected, atol=1e-6)


def test_a_step_that_was_left_out_moves_no_average():
    model = nn.Linear(3, 2)
    averaging = build_averaging(model, WeightAveraging(), 1, nothing)
    averaging.follow(stepped=True)
    before = averaging.evaluated().get_parameter("weight").clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    averaging.follow(stepped=False)
    assert torch.equal(averaging.evaluated().get_parameter("weight"), before)


@pytest.mark.parametrize("steps", [20, 17], ids=["whole", "cut"])
def test_a_stochastic_mean_is_that_of_the_last_epochs(bench, steps):
    """Where the last one was cut, it is in the mean with the weights at which the run ended."""
    plain = bench.train("plain", trainingConfig={"epochs": 4, "maxSteps": steps})
    averaged = bench.train("averaged", trainingConfig={"epochs": 4, "maxSteps": steps, **SWA})
    ends = [plain.weights("epoch-0003"), plain.weights(f"step-{steps:08}")]
    for name, tensor in averaged.weights().items():
        assert np.abs(tensor - (ends[0][name] + ends[1][name]) / 2).max() <= 1e-6, name


@pytest.mark.parametrize(
    ("epochs", "start", "first"), [(4, 0.0, 0), (4, 0.5, 2), (3, 0.5, 2), (4, 0.9, 3), (1, 0.75, 0)]
)
def test_a_stochastic_mean_begins_where_it_was_asked_to_and_with_the_last_epoch_at_least(epochs, start, first):
    """Epochs that begin before that share of the run are no part of it. One that goes on from a run without a mean begins alike."""
    model = nn.Linear(1, 1)
    averaging = build_averaging(model, WeightAveraging(method="swa", start=start), epochs, nothing)
    averaging.restore({})
    for epoch in range(epochs):
        with torch.no_grad():
            model.weight.fill_(2.0**epoch)
        averaging.end_epoch(epoch, cut_short=False)
    expected = sum(2.0**epoch for epoch in range(first, epochs)) / (epochs - first)
    assert averaging.evaluated().get_parameter("weight").item() == pytest.approx(expected)


@pytest.mark.parametrize("method", ["ema", "swa"])
def test_a_buffer_that_is_no_statistic_of_a_batch_is_that_of_the_trained_model(method):
    model = nn.Linear(1, 1)
    model.register_buffer("seen", torch.zeros(2))
    averaging = build_averaging(model, WeightAveraging(method=method), 1, nothing)
    model.seen += 3.0
    averaging.follow(stepped=True)
    averaging.end_epoch(0, cut_short=False)
    assert averaging.evaluated() is not model
    assert averaging.evaluated().get_buffer("seen").eq(3.0).all()


@pytest.mark.parametrize("averaging", [EMA, SWA])
def test_what_is_evaluated_is_what_is_kept(bench, averaging):
    """The validation loss of the last row, by hand from the checkpoint's model: its statistics go with its weights."""
    bench.write_model(NORMED)
    run = bench.train(trainingConfig={"epochs": 4, **averaging})
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)).eval()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in run.weights().items()})
    rows = {name: torch.from_numpy(array) for name, array in np.load(bench.folder / "val.npz").items()}
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(rows["x"]), rows["y"]).item()
    assert run.of(EpochCompleted)[-1].val_loss == pytest.approx(loss, abs=1e-6)
    plain = bench.train("plain", trainingConfig={"epochs": 4})
    assert run.of(EpochCompleted)[-1].val_loss != pytest.approx(plain.of(EpochCompleted)[-1].val_loss, abs=1e-5)
    assert run.of(EpochCompleted)[0].train_loss == plain.of(EpochCompleted)[0].train_loss


def test_each_step_is_averaged_after_it_was_taken_and_the_checkpoint_says_which_weights_it_holds(bench):
    run = bench.train(trainingConfig={"epochs": 1, **EMA}, checkpointConfig={"saveEverySteps": 1, "keepLast": 9})
    folders = [run.run_folder / f"step-{step:08}" for step in (1, 2, 3)]
    assert {read_manifest(folder).about["weights"] for folder in folders} == {"ema"}
    snapshots = [load_snapshot(folder) for folder in folders]
    # After two updates, as TensorFlow has it: (1 + 2) / (10 + 2).
    decay = 3 / 12
    for name, before in snapshots[1].model.items():
        trained = snapshots[2].state["averaging"]["trained"][name]
        assert torch.allclose(snapshots[2].model[name], decay * before + (1 - decay) * trained, atol=1e-6), name
    plain = bench.train("plain", trainingConfig={"epochs": 1})
    assert read_manifest(Path(plain.of(CheckpointSaved)[-1].path)).about["weights"] == "trained"


def test_an_exponential_mean_has_the_statistics_of_the_trained_model(bench):
    bench.write_model(NORMED)
    plain, averaged = (
        bench.train(name, trainingConfig={"epochs": 2, **more}) for name, more in (("a", {}), ("b", EMA))
    )
    assert np.array_equal(plain.weights()["1.running_mean"], averaged.weights()["1.running_mean"])


def test_statistics_of_a_mean_are_those_of_its_own_weights(bench):
    """One batch an epoch: the running mean of the first layer's output over the training samples, by hand."""
    bench.write_model(NORMED)
    run = bench.train(dataConfig={"batchSize": 70}, trainingConfig={"epochs": 4, **SWA})
    weights = {name: torch.from_numpy(array) for name, array in run.weights().items()}
    rows = torch.from_numpy(np.load(bench.folder / "train.npz")["x"])
    expected = nn.functional.linear(rows, weights["0.weight"], weights["0.bias"]).mean(0)
    assert torch.allclose(weights["1.running_mean"], expected, atol=1e-5)


@pytest.mark.parametrize("averaging", [EMA, SWA])
@pytest.mark.parametrize("step", [5, 8, 12, 15, 18])
def test_a_resume_goes_on_with_the_same_average_to_the_bit(bench, averaging, step):
    """From ends of epochs (five steps each) and from their middles."""
    bench.write_model(NORMED)
    changes = {"trainingConfig": {"epochs": 4, **averaging}, "dataConfig": {"batchSize": 14}}
    asked = {"saveEverySteps": 1, "keepLast": 100}
    whole = bench.train("whole", **changes, checkpointConfig=asked)
    middle = next(saved for saved in whole.of(CheckpointSaved) if saved.step == step)
    resumed = bench.train("resumed", **changes, checkpointConfig={**asked, "resumeFrom": middle.path})
    for name, tensor in whole.weights().items():
        assert np.array_equal(tensor, resumed.weights()[name]), name
    assert resumed.of(EpochCompleted)[-1].val_loss == whole.of(EpochCompleted)[-1].val_loss


def test_an_epoch_that_is_evaluated_again_is_averaged_once():
    model = nn.Linear(2, 2)
    averaging = build_averaging(model, WeightAveraging(method="swa", start=0.0), 2, nothing)
    averaging.end_epoch(0, cut_short=False)
    with torch.no_grad():
        model.weight.add_(1.0)
    averaging.end_epoch(1, cut_short=False)
    kept = {name: value if isinstance(value, int) else dict(value) for name, value in averaging.state().items()}
    evaluated = {name: tensor.clone() for name, tensor in averaging.evaluated().state_dict().items()}
    resumed = build_averaging(model, WeightAveraging(method="swa", start=0.0), 2, nothing)
    kept["trained"] = {name: tensor.clone() for name, tensor in kept["trained"].items()}
    model.load_state_dict(evaluated)
    resumed.restore(kept)
    resumed.end_epoch(1, cut_short=False)
    assert torch.equal(resumed.evaluated().get_parameter("weight"), evaluated["weight"])


def test_going_on_without_averaging_goes_on_with_the_trained_weights(bench):
    first = bench.train("first", trainingConfig={"epochs": 2, **EMA})
    plain = bench.train("plain", trainingConfig={"epochs": 2})
    asked = {"resumeFrom": first.of(CheckpointSaved)[-1].path}
    resumed = bench.train("resumed", trainingConfig={"epochs": 3}, checkpointConfig=asked)
    further = bench.train(
        "further",
        trainingConfig={"epochs": 3},
        checkpointConfig={"resumeFrom": plain.of(CheckpointSaved)[-1].path},
    )
    for name, tensor in resumed.weights().items():
        assert np.array_equal(tensor, further.weights()[name]), name


def test_a_model_that_cannot_be_copied_is_refused():
    model = nn.Linear(2, 2)
    model.generator = (number for number in range(3))
    with pytest.raises(Failure, match="cannot be copied"):
        build_averaging(model, WeightAveraging(), 1, nothing)


def test_what_is_averaged_has_no_gradient():
    model = nn.Linear(3, 2)
    averaging = build_averaging(model, WeightAveraging(), 1, nothing)
    averaging.follow(stepped=True)
    assert averaging.evaluated() is not model
    assert not any(parameter.requires_grad for parameter in averaging.evaluated().parameters())


def test_one_that_goes_on_from_a_run_without_a_mean_begins_its_own():
    model, begun = nn.Linear(3, 2), nn.Linear(3, 2)
    averaging = build_averaging(model, WeightAveraging(), 1, nothing)
    with torch.no_grad():
        model.load_state_dict(begun.state_dict())
    averaging.restore({})
    assert averaging.evaluated() is model
    with torch.no_grad():
        model.weight.add_(1.0)
    averaging.follow(stepped=True)
    # As TensorFlow has it: 1/10 of the first.
    assert torch.allclose(averaging.evaluated().get_parameter("weight"), begun.weight + 0.9, atol=1e-6)


@pytest.mark.parametrize("method", ["ema", "swa"])
def test_buffers_may_come_go_and_change_their_shape(method):
    """The average has those of the trained model as they are, in tensors of its own, and its own where they fit."""
    model = nn.Linear(1, 1)
    for name in ("stays", "grows", "goes"):
        model.register_buffer(name, torch.ones(2))
    model.register_buffer("comes", None)
    model.register_buffer("learnt", torch.ones(2, requires_grad=True))
    averaging = build_averaging(model, WeightAveraging(method=method, start=0.0), 1, nothing)
    averaging.follow(stepped=True)
    averaging.end_epoch(0, cut_short=False)
    own = averaging.evaluated().get_buffer("stays")
    model.stays.fill_(5.0)
    model.grows, model.goes = torch.full((3,), 6.0), None
    model.comes, model.learnt = torch.full((4,), 7.0), torch.full((5,), 8.0, requires_grad=True)
    averaging.take_buffers()
    kept = averaging.evaluated()
    assert kept.stays is own
    assert kept.goes is None
    for name, value in {"stays": [5.0] * 2, "grows": [6.0] * 3, "comes": [7.0] * 4, "learnt": [8.0] * 5}.items():
        assert kept.get_buffer(name).tolist() == value
        assert kept.get_buffer(name).data_ptr() != model.get_buffer(name).data_ptr()
        assert not kept.get_buffer(name).requires_grad


def test_an_epoch_that_was_cut_is_taken_back_once():
    model = nn.Linear(1, 1)
    averaging = build_averaging(model, WeightAveraging(method="swa", start=0.0), 3, nothing)
    for epoch in range(2):
        with torch.no_grad():
            model.weight.fill_(2.0 + 4.0 * epoch)
        averaging.end_epoch(epoch, cut_short=epoch == 1)
    assert averaging.evaluated().get_parameter("weight").item() == 4.0
    assert "beforeCut" in averaging.state()
    for _ in range(2):
        averaging.take_back_cut()
        assert averaging.evaluated().get_parameter("weight").item() == 2.0
        state = averaging.state()
        assert "beforeCut" not in state
        assert (state["updates"], state["latest"]) == (1, 0)
