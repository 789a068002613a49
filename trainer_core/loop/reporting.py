"""What a run says between two epochs, and how fast it goes. The only place that reads loss and norm from the device."""

import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from schemas.events import EarlyStopTriggered, Step
from schemas.result import EpochRow
from trainer_core.channel import Channel, finite
from trainer_core.epochs.early_stopping import EarlyStop
from trainer_core.loop.footprint import memory_in_use, memory_limit
from trainer_core.loop.metrics.metrics import Figures
from trainer_core.loop.position import Length, Position
from trainer_core.loop.ranks import Totals
from trainer_core.loop.trace import Trace
from trainer_core.monitors.monitor import Readings, Status
from trainer_core.monitors.waiting import Waiting
from trainer_core.monitors.watch import Watch

T = TypeVar("T")


class Taken(NamedTuple):
    """An optimizer step just taken. Loss and norm are still on the device."""

    totals: Totals
    norm: Tensor
    learning_rate: float
    samples: int


class Reporting:
    """Says a ``step`` event at most every ``every_seconds``, and shows every step to the monitors of ``watch``; the ranks
    beside the first have a silent channel."""

    def __init__(
        self,
        channel: Channel,
        length: Length,
        figures: Figures,
        device: torch.device,
        every_seconds: float,
        watch: Watch,
        world: int = 1,
    ) -> None:
        self._watch = watch
        self._world = world
        self._channel = channel
        self._length = length
        self._figures = figures
        self._device = device
        self._every = every_seconds
        self._began = self._said = self._stepped = time.monotonic()
        self._first_step: int | None = None
        self._samples = 0
        self._seconds = 0.0
        self._left_out: set[str] = set()
        self._trace = Trace()
        self.waiting = Waiting()
        self._waited_before_status = 0.0
        self._seconds_since_status = 0.0
        self._epoch_sum = self._epoch_count = 0.0

    def begin_epoch(self) -> None:
        """Averages start anew, and the clock of the speed goes on: evaluation is no training."""
        self._epoch_sum = self._epoch_count = 0.0
        self._stepped = time.monotonic()

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """``batches``, with the time that the loop waits for them."""
        return self.waiting.over(batches)

    def observe(self, taken: Taken, position: Position) -> bool:
        """Count the step; whether it is time to ``say`` something."""
        if self._first_step is None:
            self._first_step = position.step - 1
        now = time.monotonic()
        self._samples += taken.samples
        self._seconds += now - self._stepped
        self._seconds_since_status += now - self._stepped
        self._stepped = now
        self._trace.add(position.step, taken.totals, taken.norm)
        return now - self._said >= self._every

    def say(self, taken: Taken, position: Position) -> None:
        """Say where the run is. Waits for the device."""
        latest = self._catch_up()
        now = time.monotonic()
        status = self._status(position, taken.learning_rate, behind=now - self._stepped)
        self._channel.emit(
            Step(
                epoch=position.number,
                step=position.step,
                total_steps=self._length.total_steps,
                loss=finite(latest.losses[-1]),
                loss_average=finite(self._epoch_sum / self._epoch_count) if self._epoch_count else None,
                loss_moving_average=self._watch.loss_average,
                accuracy=self._accuracy(),
                learning_rate=taken.learning_rate,
                grad_norm=finite(latest.norms[-1]),
                samples_per_second=self._samples / self._seconds if self._seconds > 0 else None,
                eta_seconds=self._seconds_left(now, position),
                memory_bytes=status.memory,
                memory_limit_bytes=status.memory_limit,
                data_wait_share=min(1.0, status.waited / status.seconds) if status.seconds > 0 else None,
            )
        )
        self._watch.status(status)
        self._said, self._samples, self._seconds = now, 0, 0.0

    def end_epoch(self, row: EpochRow, position: Position) -> None:
        """Show the rest of the epoch and its ``row`` to the monitors. Waits for the device."""
        self._catch_up()
        self._watch.status(self._status(position, row.learning_rate, behind=0.0))
        self._watch.epoch(row)

    def _catch_up(self) -> Readings:
        """Read the steps since the last time."""
        steps = self._trace.read()
        self._epoch_sum += float(steps.loss_sums.sum())
        self._epoch_count += float(steps.counts.sum())
        readings = steps.readings()
        self._watch.steps(readings)
        return readings

    def _status(self, position: Position, learning_rate: float | None, behind: float) -> Status:
        """Where the run stands, with the time since the status before."""
        status = Status(
            step=position.step,
            total_steps=self._length.total_steps,
            learning_rate=learning_rate,
            memory=memory_in_use(self._device),
            memory_limit=memory_limit(self._device),
            seconds=self._seconds_since_status,
            waited=self.waiting.seconds - self._waited_before_status,
            behind=behind,
        )
        self._seconds_since_status, self._waited_before_status = 0.0, self.waiting.seconds
        return status

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: all that the monitors have seen, the steps up to now included. Waits for the device."""
        self._catch_up()
        return self._watch.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; steps after it, not yet read, are undone and shown to nobody."""
        self._trace.clear()
        self._watch.restore(state)

    def say_early_stop(self, stopping: EarlyStop, epoch: int) -> None:
        """Say that patience has run out after ``epoch``."""
        self._channel.emit(
            EarlyStopTriggered(
                epoch=epoch, best_epoch=stopping.best_epoch, patience=stopping.patience, monitor=stopping.monitor
            )
        )

    def warn_unmeasured(self, monitor: str, epoch: int) -> None:
        """Say that the figure that early stopping watches was not there, or not finite."""
        message = (
            f"{monitor} was not measured, or not finite, in epoch {epoch}; it neither improved nor used up patience."
        )
        self._channel.warn("monitor_not_measured", message, epoch=epoch, monitor=monitor)

    def warn_left_out(self, reason: str) -> None:
        """Say, once, why a figure that one could expect is not there; nothing for an empty ``reason``."""
        if reason and reason not in self._left_out:
            self._left_out.add(reason)
            self._channel.warn(
                "figures_left_out", f"Some figures are left out, or not exact: {reason.removesuffix('.')}."
            )

    def _accuracy(self) -> float | None:
        """That of the epoch so far; with several ranks nobody knows it before they merge at the epoch's end."""
        return None if self._world > 1 else self._figures.compute("train").get("trainAccuracy")

    def warn_nothing_counted(self, epoch: int) -> None:
        """Say that no target of ``epoch`` counted."""
        message = f"No target of epoch {epoch} counted in the loss: all are ignored, masked or weigh nothing."
        self._channel.warn(
            "nothing_counted",
            message,
            remedy="Look at ignore_index, the weights and the masks of the loss.",
            epoch=epoch,
        )

    def _seconds_left(self, now: float, position: Position) -> float | None:
        """From the mean time of a step since this attempt began, evaluation and saving included."""
        assert self._first_step is not None
        done = position.step - self._first_step
        left = max(0, self._length.total_steps - position.step)
        return (now - self._began) / done * left if done > 0 else None
