"""The range test itself: which losses it notes, and where it ends."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from schemas.tuning import LearningRateFinder
from trainer_core.channel import Channel
from trainer_core.loop.assemble import assemble
from trainer_core.loop.material import Surroundings, load, size_up
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.trainer import Trainer
from trainer_core.loop.tuning.learning_rate import RangeTest, judge, rates_of, run_test
from trainer_core.stop import Stop

# The loss of each training pass is the next of LOSSES, and then the last; the gradient of the BROKEN one is not finite.
SCRIPTED = """
from math import inf, nan

import torch
from torch import nn


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.losses, self.number = LOSSES, 0

    def forward(self, x):
        nothing = 0 * self.weight * x[:, :3]
        if not self.training:
            return nothing
        self.number += 1
        loss = self.losses[min(self.number, len(self.losses)) - 1]
        return loss + (nothing.abs().sqrt() if self.number == BROKEN else nothing)


def build_model():
    return Scripted()


def loss(output, targets):
    return output.mean()
"""
STEADY = [1.0]


def assembled(bench, **changes) -> Trainer:
    """A loop before its first step."""
    around = Surroundings(bench.assignment(**changes), torch.device("cpu"), Ranks(), Channel(), Stop())
    material = load(around)
    return assemble(around, material, size_up(around, material))


def taken(bench, losses: str | list[float], broken: int = 0, training: dict | None = None, **finder) -> RangeTest:
    """A test of 30 steps in which the losses are these."""
    bench.write_model(SCRIPTED.replace("LOSSES", str(losses)).replace("BROKEN", str(broken)))
    return run_test(assembled(bench, trainingConfig=training or {}), LearningRateFinder(steps=30, **finder))


@pytest.mark.parametrize(
    ("losses", "threshold"),
    [
        pytest.param([1.0], 1.3, id="steady"),
        pytest.param([-1.0], 1.3, id="negative"),
        pytest.param([1.0] * 10 + [15.0, 1.0], 4.0, id="one bad batch"),
        pytest.param([1.0] * 5 + [0.0, 1.0], 1.3, id="one good batch"),
    ],
)
def test_it_goes_through_all_rates(bench, losses: list[float], threshold: float):
    test = taken(bench, losses, early_stop_threshold=threshold)
    assert (len(test.losses), test.end) == (30, "")
    assert test.losses[: len(losses)] == pytest.approx(losses)


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1000, 0), (1, -2)])
def test_it_ends_where_the_loss_runs_away(bench, scale: int, offset: int):
    """The mean of what is weighed by powers of 0.9 has risen by three times the first loss five steps after one has come to be
    eight times as high."""
    test = taken(bench, [scale * 1.0 + offset] * 20 + [scale * 8.0 + offset])
    assert len(test.losses) == 25
    assert test.end.startswith("the loss ran away at ")


@pytest.mark.parametrize(
    ("losses", "broken"),
    [pytest.param("[1.0] * 12 + [nan]", 0, id="nan"), pytest.param(STEADY, 13, id="the gradient")],
)
def test_it_ends_at_what_is_not_finite(bench, losses: str | list[float], broken: int):
    test = taken(bench, losses, broken)
    assert (len(test.losses), test.rates[0]) == (12, 1e-7)
    assert test.end == f"the loss was not finite at {rates_of(LearningRateFinder(steps=30))[12]:.3g}"


def test_a_gradient_that_is_not_finite_is_the_scalers_to_answer(bench):
    test = taken(bench, STEADY, 13, {"precision": "fp16"})
    assert (len(test.losses), test.end) == (30, "")


def test_a_scaler_is_ready_for_the_training_after_a_loss_that_was_not_finite(bench):
    bench.write_model(SCRIPTED.replace("LOSSES", "[1.0] * 12 + [nan, 1.0]").replace("BROKEN", "0"))
    run = bench.train(trainingConfig={"epochs": 1, "precision": "fp16", "learningRateFinder": True})
    assert run.ending.state == "succeeded"


def test_a_loss_is_the_mean_of_the_targets_that_count_and_a_batch_without_any_is_none(bench):
    """Of the first batch none counts, of the second every other; five batches are an epoch."""
    x = np.random.default_rng(5).normal(size=(70, 6)).astype(np.float32)
    y = np.arange(70) % 2
    y[:16], y[16:32:2] = 2, 2
    np.savez(bench.folder / "train.npz", x=x, y=y)
    trainer = assembled(
        bench, dataConfig={"shuffle": False}, trainingConfig={"lossArgs": {"ignore_index": 2}, "optimizer": "SGD"}
    )
    scores = trainer.model(torch.from_numpy(x[16:32]))
    expected = functional.cross_entropy(scores, torch.from_numpy(y[16:32]), ignore_index=2).item()
    wanted = LearningRateFinder(steps=20, min_learning_rate=1e-9, max_learning_rate=1e-8)
    test = run_test(trainer, wanted)
    assert test.rates == [rate for number, rate in enumerate(rates_of(wanted)) if number % 5]
    assert test.losses[0] == pytest.approx(expected, rel=1e-6)


def test_the_rate_is_that_of_the_steepest_descent_to_three_digits():
    """Also of a test that ended before it had taken all steps that were planned; not of one that was to stop."""
    wanted = LearningRateFinder(steps=100)
    losses = [2 - 1 / (1 + math.exp(-(x - 33) / 6)) for x in range(70)]
    test = RangeTest(rates_of(wanted)[:70], losses, "the loss ran away at 0.1")
    assert judge(test, wanted) == (
        2.15e-05,
        "the loss fell from 1.989 to 1.006, fastest at 2.15e-05, and the loss ran away at 0.1",
    )
    assert judge(RangeTest(test.rates, losses, "the run was asked to stop"), wanted) == (
        None,
        "the run was asked to stop",
    )
    early = RangeTest(test.rates[:12], losses[:12], "the loss was not finite at 0.1")
    rate, words = judge(early, wanted)
    assert rate is None
    assert words.startswith("the loss left all bounds after 12 steps")
