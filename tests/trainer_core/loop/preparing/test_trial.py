"""One pass, tried out and undone; and whether to compile is expected to pay."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trainer_core.channel import Channel
from trainer_core.loop.material import Surroundings, load
from trainer_core.loop.preparing.pay_back import Costs, expect
from trainer_core.loop.preparing.trial import Trial
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.tuning.tuning import compile_where_it_pays
from trainer_core.stop import Stop

# The second layer is called without being learnt from, and the third is frozen.
PARTLY = """
import torch
from torch import nn


class Partly(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(6, 3), nn.BatchNorm1d(3, affine=False)
        self.second, self.third = nn.Linear(3, 3), nn.Linear(3, 3)
        self.third.requires_grad_(False)

    def forward(self, x):
        x = self.norm(self.first(x))
        self.second(x)
        return x + torch.rand(1) if self.training else x


def build_model():
    return Partly()
"""
# Compiling is free, so that a run of any length is expected to pay.
FREE = Costs(seconds=0.0, seconds_a_module=0.0, passes=0)


def surroundings(bench, ranks: Ranks | None = None, **training: Any) -> Surroundings:
    assignment = bench.assignment(trainingConfig=training)
    return Surroundings(assignment, torch.device("cpu"), ranks or Ranks(), Channel(), Stop())


def parts(around: Surroundings) -> tuple[nn.Module, Trial]:
    """The model of a run and a trial of 16 samples with it."""
    material = load(around)
    return material.model, Trial(material.data.train, material.forward, 16, around.device)


def watched(model: nn.Module, see: Callable[[int], object]) -> None:
    """Have ``see`` told of the samples of each pass."""

    def hook(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        see(len(inputs[0]))

    model.register_forward_pre_hook(hook)


def test_it_names_what_is_trained_and_got_no_gradient_and_leaves_no_trace(bench):
    bench.write_model(PARTLY)
    model, trial = parts(surroundings(bench))
    seen: list[int] = []
    watched(model, seen.append)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    assert trial.run(model) == ["second.weight", "second.bias"]
    assert seen == [16]
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.alone
def test_the_time_of_a_pass_is_the_shortest_of_three(bench):
    model, trial = parts(surroundings(bench))
    delays = [0.1, 0.02, 0.1]

    def spin(_size: int) -> None:
        until = time.perf_counter() + delays.pop()
        while time.perf_counter() < until:
            pass

    watched(model, spin)
    assert 0.02 <= trial.seconds(model) < 0.09
    assert delays == []


def test_compiling_costs_by_the_modules_that_compute(bench):
    model, _ = parts(surroundings(bench))
    assert Costs(seconds=1.0, seconds_a_module=0.5).of(nn.Sequential(model)) == 1.0 + 0.5 * 4


def test_a_run_that_is_just_long_enough_is_measured_by_four_passes(bench):
    model, trial = parts(surroundings(bench))
    seen: list[int] = []
    watched(model, seen.append)
    expected = expect(model, trial, 400, Costs(seconds_a_module=1e6))
    assert len(seen) == 4
    assert "the run's 400 passes of" in expected.against
    assert "times the 4e+06 s" in expected.against
    assert expect(model, trial, 399, Costs()).seconds == 0


def test_what_saves_nothing_never_pays(bench):
    model, trial = parts(surroundings(bench))
    assert expect(model, trial, 10**9, Costs(share=0.0)).against is not None


def test_a_pass_that_fails_is_the_first_batches_to_tell(bench):
    model, trial = parts(surroundings(bench))
    watched(model, lambda size: [][size])
    assert expect(model, trial, 1000, FREE).against == "a pass could not be tried"


def test_a_compiler_may_be_named(bench, monkeypatch):
    model, trial = parts(surroundings(bench))
    own = bench.folder / "own-compiler"
    own.touch(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", str(own))
    assert expect(model, trial, 1000, FREE).against is None


class Shared(Ranks):
    """A rank of some strategy, beside one that ``objects`` to all."""

    def __init__(self, strategy: str, objects: bool = False) -> None:
        self.strategy = strategy
        self._objects = objects

    def any(self, flag: bool) -> bool:
        return flag or self._objects


@pytest.mark.parametrize(
    ("ranks", "reason"),
    [
        (Shared("single"), "The run has 5 passes"),
        (Shared("ddp"), "The run has 5 passes"),
        (Shared("fsdp"), "With strategy fsdp nothing is compiled."),
        (Shared("dp"), "With strategy dp nothing is compiled."),
    ],
    ids=lambda value: value.strategy if isinstance(value, Ranks) else "",
)
def test_auto_says_what_stands_against_it(bench, ranks: Ranks, reason: str):
    around = surroundings(bench, ranks, compile="auto")
    compilation = compile_where_it_pays(around, *parts(around), 5, frozenset)
    assert compilation.tuned[0].reason.startswith(reason)


@pytest.mark.parametrize("strategy", ["fsdp", "dp"])
def test_where_nothing_is_compiled_on_means_off(bench, strategy: str):
    around = surroundings(bench, Shared(strategy), compile="on")
    model, trial = parts(around)
    compilation = compile_where_it_pays(around, model, trial, 5, frozenset)
    assert (compilation.network is model, compilation.on, compilation.alerts) == (True, False, [])


def test_auto_compiles_nothing_that_does_not_pay_on_another_rank(bench):
    around = surroundings(bench, Shared("ddp", objects=True), compile="auto")
    compilation = compile_where_it_pays(around, *parts(around), 10**9, frozenset)
    assert compilation.tuned[0].reason == "Another rank found that it does not pay."
