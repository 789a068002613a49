"""All monitors of a run, and the cool-down that keeps each from saying the same thing at every step."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from schemas.events import Alert
from schemas.result import EpochRow
from trainer_core.channel import Channel
from trainer_core.monitors.curves import DeadStart, Overfitting, Plateau
from trainer_core.monitors.machine import LoaderBound, MemoryNearlyFull
from trainer_core.monitors.monitor import Monitor, Readings, Status
from trainer_core.monitors.rate import RateExhausted
from trainer_core.monitors.spikes import LossSpike, NormSpike
from trainer_core.monitors.window import Window

_AVERAGED = 100


class CoolDown:
    """Lets an alert through when ``length`` steps (or epochs) have passed since the one before. Each that is let through
    doubles the wait for the next: a long run that is ill says so a handful of times."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._until: int | None = None
        self._unsaid = 0

    def admit(self, alert: Alert, now: int) -> Alert | None:
        """``alert``, with the number of those held back since the one before; or None."""
        if self._until is not None and now < self._until:
            self._unsaid += 1
            return None
        held_back = {"heldBack": self._unsaid} if self._unsaid else {}
        self._until, self._unsaid, self._length = now + self._length, 0, 2 * self._length
        return alert.model_copy(update={"evidence": alert.evidence | held_back})

    def state(self) -> dict[str, int | None]:
        """What a checkpoint keeps."""
        return {"length": self._length, "until": self._until, "unsaid": self._unsaid}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._length, self._until, self._unsaid = state["length"], state["until"], state["unsaid"]


class Watch:
    """Shows figures to ``monitors`` and says their alerts."""

    def __init__(self, monitors: Iterable[Monitor], channel: Channel) -> None:
        self._monitors = {monitor.code: monitor for monitor in monitors if monitor.code}
        self._rests = {code: CoolDown(monitor.cool_down) for code, monitor in self._monitors.items()}
        self._channel = channel
        self._losses = Window(_AVERAGED)

    @property
    def loss_average(self) -> float | None:
        """Mean loss of the last 100 steps, across the ends of epochs; None before the first."""
        return self._losses.mean if len(self._losses) else None

    def steps(self, readings: Readings) -> None:
        """Look at optimizer steps, in order."""
        self._losses.add(*readings.losses[np.isfinite(readings.losses)][-_AVERAGED:].tolist())
        for monitor in self._monitors.values():
            for step, alert in monitor.steps(readings):
                self._say(monitor, alert, step)

    def status(self, status: Status) -> None:
        """Look at where the run stands."""
        for monitor in self._monitors.values():
            self._say(monitor, monitor.status(status), status.step)

    def epoch(self, row: EpochRow) -> None:
        """Look at a completed epoch."""
        for monitor in self._monitors.values():
            self._say(monitor, monitor.epoch(row), row.epoch)

    def _say(self, monitor: Monitor, alert: Alert | None, now: int) -> None:
        admitted = None if alert is None else self._rests[monitor.code].admit(alert, now)
        if admitted is not None:
            self._channel.emit(admitted)

    def state(self) -> dict[str, Any]:
        """Windows and cool-downs, by the monitors' codes."""
        kept = {code: [monitor.state(), self._rests[code].state()] for code, monitor in self._monitors.items()}
        return {"losses": self._losses.state(), "monitors": kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``: what monitors saw after it was taken is forgotten. One that is not in it begins anew."""
        self._losses.restore(state["losses"])
        for code, monitor in self._monitors.items():
            if code in state["monitors"]:
                own, rest = state["monitors"][code]
                monitor.restore(own)
                self._rests[code].restore(rest)


def watch_network(channel: Channel, *, epochs: int, validates: bool, workers: int) -> Watch:
    """What watches the training of a network: steps, curve and machine. ``workers`` 0 or more loader processes read ahead."""
    monitors: list[Monitor] = [LossSpike(), NormSpike(), DeadStart(), Plateau(epochs), RateExhausted()]
    monitors += [Overfitting() if validates else Monitor(), MemoryNearlyFull(), LoaderBound(workers)]
    return Watch(monitors, channel)


def watch_estimator(channel: Channel, *, epochs: int, validates: bool) -> Watch:
    """What watches the passes of an estimator: its curve. One that is trained by one fit has none."""
    if epochs == 1:
        return Watch([], channel)
    return Watch([Plateau(epochs), Overfitting() if validates else Monitor()], channel)
