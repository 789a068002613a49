"""Steps whose loss or gradient norm stands out from those before."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from schemas.events import Alert
from trainer_core.monitors.monitor import Monitor, Readings
from trainer_core.monitors.window import score

_WINDOW = 32


class Spike(Monitor, ABC):
    """A figure that is over ``ratio`` times its moving average, and by its robust z-score no part of the usual spread.

    The ratio alone fires near zero, and means nothing for a loss that may be negative: there, one that exceeds its
    average by more than ``ratio - 1`` times the size of the average. So a third condition: the excess is at least
    ``floor`` times the level at which the run began; a loss of 0.01 among those of 0.0001 harms nobody. A step with less
    than half of the usual targets (an epoch's last batch) is passed over: its mean scatters more than the others.

    Near the end of a training some batches are fitted a thousand times better than others, and no loss stands out from such a
    spread. So one that is over ``far`` times the largest at the beginning needs no score.
    """

    cool_down = 200
    figure = ""
    remedy = ""
    ratio = 2.0
    score = 5.0
    floor = 0.0
    far = math.inf
    # As window.score has it.
    least_deviation = 0.1

    def __init__(self) -> None:
        self._recent: NDArray[np.float64] = np.empty(0)
        self._level = self._highest = self._largest = 0.0

    @abstractmethod
    def values(self, readings: Readings) -> NDArray[np.float64]:
        """The figure of each step."""

    def steps(self, readings: Readings) -> Iterator[tuple[int, Alert]]:
        """Steps that stand out, each from the 32 before it."""
        values = self.values(readings)
        largest = np.maximum.accumulate(np.append(self._largest, readings.counts))
        usable = np.isfinite(values) & (readings.counts >= largest[1:] / 2)
        self._largest = float(largest[-1])
        known = len(self._recent)
        whole, steps = np.append(self._recent, values[usable]), readings.steps[usable]
        self._recent = whole[-_WINDOW:]
        if known < _WINDOW <= len(whole):
            self._level, self._highest = abs(float(np.median(whole[:_WINDOW]))), float(whole[:_WINDOW].max())
        if len(whole) <= _WINDOW:
            return
        # The cheap condition first, of all steps at once: it holds of few.
        averages = sliding_window_view(whole, _WINDOW)[:-1].mean(axis=1)
        excess = whole[_WINDOW:] - averages
        for place in np.flatnonzero((excess > (self.ratio - 1) * abs(averages)) & (excess >= self.floor * self._level)):
            step = int(steps[_WINDOW + place - known])
            alert = self._judge(step, float(whole[_WINDOW + place]), whole[place : _WINDOW + place].tolist())
            if alert is not None:
                yield step, alert

    def _judge(self, step: int, value: float, before: list[float]) -> Alert | None:
        found = score(value, before, self.least_deviation)
        if found < self.score and not value > self.far * self._highest > 0:
            return None
        average = sum(before) / len(before)
        evidence = {"step": step, "value": value, "average": average, "score": round(min(found, 1e6), 1)}
        message = (
            f"{self.figure} {value:.4g} at step {step}; the average of the {_WINDOW} steps before is {average:.4g}."
        )
        return Alert(code=self.code, level="warning", message=message, evidence=evidence, remedy=self.remedy)

    def state(self) -> dict[str, Any]:
        """The window, the level and the highest value at which the run began, and the largest number of targets."""
        return {
            "recent": self._recent.tolist(),
            "level": self._level,
            "highest": self._highest,
            "largest": self._largest,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._recent = np.array(state["recent"], dtype=np.float64)
        self._level, self._highest, self._largest = state["level"], state["highest"], state["largest"]


class LossSpike(Spike):
    """A loss over twice its moving average."""

    code = "loss_spike"
    figure = "Loss"
    remedy = (
        "Once: look at the samples of that step. Again and again: a lower learningRate, a longer warm-up, or clipping."
    )
    ratio = 2.0
    score = 5.0
    floor = 0.25
    far = 4.0

    def values(self, readings: Readings) -> NDArray[np.float64]:
        """The losses."""
        return readings.losses


class NormSpike(Spike):
    """A gradient norm, before clipping, over ten times its moving average."""

    code = "gradient_spike"
    figure = "Gradient norm"
    remedy = (
        "gradientClipping bounds what such a step can do. Without it, or when it recurs: a lower learningRate, a longer "
        "warm-up, a look at the samples of that step."
    )
    ratio = 10.0
    score = 12.0
    floor = 1.0

    def values(self, readings: Readings) -> NDArray[np.float64]:
        """The norms."""
        return readings.norms
