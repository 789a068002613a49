"""Steps whose loss or gradient norm stands out from those before."""

from typing import Any

from schemas.events import Alert
from trainer_core.monitors.monitor import Monitor, Reading
from trainer_core.monitors.window import Window

_WINDOW = 32


class Spike(Monitor):
    """A figure that is over ``ratio`` times its moving average, and by its robust z-score no part of the usual spread.

    The ratio alone fires near zero, and means nothing for a loss that may be negative: there, one that exceeds its
    average by more than ``ratio - 1`` times the size of the average. So a third condition: the excess is at least
    ``floor`` times the level at which the run began; a loss of 0.01 among those of 0.0001 harms nobody. A step with less
    than half of the usual targets (an epoch's last batch) is passed over: its mean scatters more than the others.
    """

    cool_down = 200
    figure = ""
    remedy = ""
    ratio = 2.0
    score = 5.0
    floor = 0.0
    # As Window.score has it.
    least_deviation = 0.1

    def __init__(self) -> None:
        self._recent = Window(_WINDOW)
        self._level: float | None = None
        self._largest = 0.0

    def value(self, reading: Reading) -> float | None:
        """The figure of a step."""
        raise NotImplementedError

    def step(self, reading: Reading) -> Alert | None:
        """An alert for a step that stands out from the 32 before it."""
        value = self.value(reading)
        self._largest = max(self._largest, reading.count)
        if value is None or reading.count < self._largest / 2:
            return None
        alert = self._judge(reading.step, value) if self._recent.full else None
        self._recent.add(value)
        if self._level is None and self._recent.full:
            self._level = abs(self._recent.median)
        return alert

    def _judge(self, step: int, value: float) -> Alert | None:
        """The cheap condition first: it holds of few steps, and sorting a window costs more than all else."""
        average = self._recent.mean
        excess = value - average
        if excess <= (self.ratio - 1) * abs(average) or excess < self.floor * (self._level or 0.0):
            return None
        score = self._recent.score(value, self.least_deviation)
        if score < self.score:
            return None
        evidence = {"step": step, "value": value, "average": average, "score": round(min(score, 1e6), 1)}
        message = (
            f"{self.figure} {value:.4g} at step {step}; the average of the {_WINDOW} steps before is {average:.4g}."
        )
        return Alert(code=self.code, level="warning", message=message, evidence=evidence, remedy=self.remedy)

    def state(self) -> dict[str, Any]:
        """The window, the level at which the run began, and the largest number of targets."""
        return {"recent": self._recent.state(), "level": self._level, "largest": self._largest}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._recent.restore(state["recent"])
        self._level, self._largest = state["level"], state["largest"]


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

    def value(self, reading: Reading) -> float | None:
        """The loss."""
        return reading.loss


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

    def value(self, reading: Reading) -> float | None:
        """The norm."""
        return reading.norm
