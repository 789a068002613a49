"""The learning-rate finder: steps of the loop itself at a rising rate, undone again."""

import math
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count

from torch import Tensor

from schemas.events import RunTuned
from schemas.tuning import LearningRateFinder
from trainer_core.loop.batches import JoinedBatch, OptimizerBatch
from trainer_core.loop.trainer import Trainer
from trainer_core.loop.tuning.beginning import undone
from trainer_core.loop.tuning.descent import steepest

SETTING = "/trainingConfig/learningRate"
# Of the mean by which a loss that goes through the roof is told from a bad batch.
_KEPT = 0.9


@dataclass
class RangeTest:
    """The rates that were tried and the loss before each step; ``end`` says why there are no more of them, if it was not the
    plan."""

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    end: str = ""

    def points(self) -> list[dict[str, float]]:
        """As they are told."""
        return [{"learningRate": rate, "loss": loss} for rate, loss in zip(self.rates, self.losses, strict=True)]


def rates_of(wanted: LearningRateFinder) -> list[float]:
    """The rates to try, rising."""
    low, high, last = wanted.min_learning_rate, wanted.max_learning_rate, wanted.steps - 1
    if wanted.mode == "linear":
        return [low + (high - low) * number / last for number in range(wanted.steps)]
    return [low * (high / low) ** (number / last) for number in range(wanted.steps)]


def find_learning_rate(trainer: Trainer, wanted: LearningRateFinder, otherwise: float) -> RunTuned:
    """What a range test of ``trainer``, which has not taken a step, finds, and the rate to train with: that one, or
    ``otherwise``. All ranks take part, and find the same. Nothing is found where the loss does not fall, or a stop was asked
    for."""
    began = time.monotonic()
    with undone(trainer):
        test = run_test(trainer, wanted)
    found, words = judge(test, wanted)
    used = found if found is not None and wanted.action == "use" else otherwise
    return RunTuned(
        setting=SETTING,
        found=found,
        used=used,
        reason=f"{len(test.rates)} steps at rates from {wanted.min_learning_rate:.3g} up: {words}.",
        seconds=time.monotonic() - began,
        measured=test.points(),
    )


def run_test(trainer: Trainer, wanted: LearningRateFinder) -> RangeTest:
    """Take the steps: until the last rate, a loss beyond the threshold or not finite, or a stop."""
    test, mean, lowest = RangeTest(), 0.0, math.inf

    def admits(loss: Tensor, norm: Tensor) -> bool:
        # An infinite gradient is the scaler's to answer, where there is one.
        sound = math.isfinite(loss.item()) and (trainer.precision.scaled or math.isfinite(norm.item()))
        if not sound:
            trainer.precision.leave_out()
        return sound

    with closing(_batches(trainer)) as batches:
        for rate, batch in zip(rates_of(wanted), batches, strict=False):
            taken, stop = trainer.learn(batch, rate, admits)
            if stop or taken is None:
                test.end = "the run was asked to stop" if stop else f"the loss was not finite at {rate:.3g}"
                break
            targets = taken.totals.count.item()
            if not targets:
                continue
            test.rates.append(rate)
            test.losses.append(taken.totals.loss_sum.item() / targets)
            mean = _KEPT * mean + (1 - _KEPT) * test.losses[-1]
            smoothed = mean / (1 - _KEPT ** len(test.losses))
            lowest = min(lowest, smoothed)
            if smoothed > lowest + (wanted.early_stop_threshold - 1) * abs(test.losses[0]):
                test.end = f"the loss ran away at {rate:.3g}"
                break
    return test


def judge(test: RangeTest, wanted: LearningRateFinder) -> tuple[float | None, str]:
    """The rate that the test speaks for, to three digits, or None; and why."""
    if "stop" in test.end:
        return None, test.end
    descent = steepest(test.losses, wanted.steps)
    end = f", and {test.end}" if test.end else ""
    if descent.index is None:
        return None, f"{descent.words}{end}"
    rate = float(f"{test.rates[descent.index]:.3g}")
    return rate, f"{descent.words}, fastest at {rate:.3g}{end}"


def _batches(trainer: Trainer) -> Generator[OptimizerBatch | JoinedBatch, None, None]:
    """The run's own, epoch after epoch, from the first."""
    for epoch in count():
        yield from trainer.batches.of_epoch(epoch, 0, trainer.length.steps_per_epoch)
