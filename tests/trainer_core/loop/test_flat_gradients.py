"""Gradients in one piece of memory do what separate ones do, whatever a model does with its own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from schemas.training import TrainingConfig
from trainer_core.loop.flat_gradients import FlatGradients, build_gradients
from trainer_core.loop.gradients import Gradients
from trainer_core.loop.optimizers import build_optimizer

CPU = torch.device("cpu")
OPTIMIZERS = [
    {"optimizer": "AdamW", "weightDecay": 0.3},
    {"optimizer": "SGD", "optimizerArgs": {"momentum": 0.9}, "weightDecay": 0.1},
    {"optimizer": "RMSprop"},
]


class Branches(nn.Module):
    """Takes one of two ways; the parameters of the other get no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.ways = nn.ModuleList([nn.Linear(5, 3), nn.Linear(5, 3)])
        self.last = nn.Linear(3, 2)

    def forward(self, x: Tensor, way: int) -> Tensor:
        hidden: Tensor = self.ways[way](x)
        scores: Tensor = self.last(hidden.tanh())
        return scores


def make(document: dict[str, object]) -> tuple[Branches, torch.optim.Optimizer, list[Tensor]]:
    torch.manual_seed(0)
    model = Branches()
    optimizer = build_optimizer(model, TrainingConfig.model_validate(document), 0.01, CPU)
    return model, optimizer, [parameter for group in optimizer.param_groups for parameter in group["params"]]


def train(
    document: dict[str, object],
    kind: Callable[[list[Tensor]], Gradients],
    ways: list[tuple[int, ...]],
    work: Callable[[Gradients], object] = Gradients.norm,
    meddle: Callable[[nn.Module, int], object] = lambda _model, _step: None,
) -> tuple[list[Tensor], list[float]]:
    """The weights after a step for each of ``ways``, each with a pass for each of its numbers; and the gradients' norms."""
    model, optimizer, parameters = make(document)
    gradients = kind(parameters)
    generator = torch.Generator().manual_seed(1)
    norms = []
    for step, passes in enumerate(ways):
        for way in passes:
            model(torch.randn(4, 5, generator=generator), way).square().sum().backward()
        meddle(model, step)
        gradients.make_mean(4, torch.tensor(3.0))
        norms.append(gradients.norm().item())
        work(gradients)
        optimizer.step()
        gradients.clear()
    return [parameter.detach().clone() for parameter in parameters], norms


@pytest.mark.parametrize("document", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("work", [Gradients.norm, lambda g: g.scale(torch.tensor(0.25)), lambda g: g.bound(0.1)])
def test_they_train_as_separate_ones_to_the_bit(
    document: dict[str, object], work: Callable[[Gradients], object]
) -> None:
    """Also the parameters that get no gradient in the first step, in a later one, or in one pass of two."""
    ways = [(0,), (1,), (0, 1), (1,), (1, 1), (0,), (0, 1), (0,), (1,), (0, 1)]
    found, norms = train(document, FlatGradients, ways, work)
    wanted, expected = train(document, Gradients, ways, work)
    assert all(one.equal(other) for one, other in zip(found, wanted, strict=True))
    assert norms == pytest.approx(expected, rel=1e-6)


def take_away(model: nn.Module, step: int) -> None:
    if step == 2:
        model.zero_grad(set_to_none=True)


def replace_one(model: nn.Module, step: int) -> None:
    if step % 2:
        weight = model.get_parameter("last.weight")
        weight.grad = torch.ones_like(weight)


def write_into_one(model: nn.Module, step: int) -> None:
    gradient = model.get_parameter("last.bias").grad
    assert gradient is not None
    gradient.add_(step)


@pytest.mark.parametrize("meddle", [take_away, replace_one, write_into_one])
def test_whoever_else_sets_a_gradient_is_heeded(meddle: Callable[[nn.Module, int], object]) -> None:
    ways = [(0, 1)] * 6
    found, norms = train(OPTIMIZERS[0], FlatGradients, ways, meddle=meddle)
    wanted, expected = train(OPTIMIZERS[0], Gradients, ways, meddle=meddle)
    assert all(one.equal(other) for one, other in zip(found, wanted, strict=True))
    assert norms == pytest.approx(expected, rel=1e-6)


def test_the_first_step_of_a_process_is_rounded_as_any_other() -> None:
    """Its passes find no views to add to. A run that is resumed would have another norm, and clip otherwise."""
    model, _, parameters = make(OPTIMIZERS[0])
    gradients, norms = FlatGradients(parameters), []
    for first in (True, False):
        for scale in range(1, 30):
            gradients.clear()
            if first:
                model.zero_grad(set_to_none=True)
            for way in (0, 1):
                (model(torch.ones(2, 5) * scale / 7, way).square().sum() * 0.3).backward()
            gradients.make_mean(2, torch.tensor(2.0))
            norms.append(gradients.norm().item())
    assert norms[:29] == norms[29:]


def test_a_step_with_every_gradient_works_on_one_tensor() -> None:
    """What it is for: were it never complete, all else here would hold as well."""
    model, _, parameters = make(OPTIMIZERS[0])
    gradients = FlatGradients(parameters)
    gradients.clear()
    seen = []
    for ways in ((0,), (0, 1)):
        for way in ways:
            model(torch.ones(2, 5), way).sum().backward()
        gradients.make_mean(2, torch.tensor(2.0))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            gradients.norm()
        seen.append({event.key for event in profile.key_averages()})
        gradients.clear()
    assert "aten::_foreach_norm" in seen[0]
    assert "aten::_foreach_norm" not in seen[1]


def test_only_small_and_uniform_models_have_them() -> None:
    def kind(*parameters: Tensor) -> type[Gradients]:
        return type(build_gradients(parameters))

    plain = torch.zeros(3, 4, 5, 6)
    assert kind(plain, torch.zeros(2)) is FlatGradients
    assert kind(plain, torch.zeros(2, dtype=torch.float64)) is Gradients
    assert kind(plain.to(memory_format=torch.channels_last)) is Gradients
    assert kind(torch.zeros(1025, 1024)) is Gradients
    assert kind(plain, torch.zeros(2, device="meta")) is Gradients


SPARE = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Linear(6, 3)
        self.spare = nn.Linear(6, 3)
        with torch.no_grad():
            self.spare.weight.fill_(1.0)

    def forward(self, x):
        return self.used(x)


def build_model():
    return Model()
"""


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_parameter_that_no_pass_uses_stays_what_it_is(bench: Any, precision: str) -> None:
    """Weight decay would shrink it. A gradient scaler writes into what gradients there are."""
    bench.write_model(SPARE)
    run = bench.train(trainingConfig={"optimizer": "AdamW", "weightDecay": 0.5, "precision": precision})
    assert (run.weights()["spare.weight"] == 1.0).all()
