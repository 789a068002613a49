"""What a run says between two epochs, and how fast it goes. The only place that reads loss and norm from the device."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from schemas.events import EarlyStopTriggered, Step
from trainer_core.channel import Channel, finite
from trainer_core.epochs.early_stopping import EarlyStop
from trainer_core.loop.metrics.metrics import Figures
from trainer_core.loop.position import Length, Position
from trainer_core.loop.ranks import Totals

# Steps whose totals are summed by one call.
_TOGETHER = 256


@dataclass(frozen=True)
class Taken:
    """An optimizer step just taken. Loss and norm are still on the device."""

    totals: Totals
    norm: Tensor
    learning_rate: float
    samples: int


class Reporting:
    """Says a ``step`` event at most every ``every_seconds``; the ranks beside the first have a silent channel."""

    def __init__(
        self,
        channel: Channel,
        length: Length,
        figures: Figures,
        device: torch.device,
        every_seconds: float,
        world: int = 1,
    ) -> None:
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
        self._epoch: list[Totals] = []

    def begin_epoch(self) -> None:
        """Averages start anew, and the clock of the speed goes on: evaluation is no training."""
        self._epoch = []
        self._stepped = time.monotonic()

    def observe(self, taken: Taken, position: Position) -> bool:
        """Count the step; whether it is time to ``say`` something."""
        if self._first_step is None:
            self._first_step = position.step - 1
        now = time.monotonic()
        self._samples += taken.samples
        self._seconds += now - self._stepped
        self._stepped = now
        self._epoch.append(taken.totals)
        if len(self._epoch) == _TOGETHER:
            self._epoch = [Totals.of(self._epoch)]
        return now - self._said >= self._every

    def say(self, taken: Taken, position: Position) -> None:
        """Say where the run is. Waits for the device."""
        now = time.monotonic()
        loss_sum, count = taken.totals.loss_sum.item(), taken.totals.count.item()
        so_far = Totals.of(self._epoch)
        epoch_sum, epoch_count = so_far.loss_sum.item(), so_far.count.item()
        self._channel.emit(
            Step(
                epoch=position.number,
                step=position.step,
                total_steps=self._length.total_steps,
                loss=finite(loss_sum / count) if count else None,
                loss_average=finite(epoch_sum / epoch_count) if epoch_count else None,
                accuracy=self._accuracy(),
                learning_rate=taken.learning_rate,
                grad_norm=finite(taken.norm.item()),
                samples_per_second=self._samples / self._seconds if self._seconds > 0 else None,
                eta_seconds=self._seconds_left(now, position),
                memory_bytes=memory_in_use(self._device),
            )
        )
        self._said, self._samples, self._seconds = now, 0, 0.0

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
            self._channel.warn("figures_left_out", f"Some figures are left out, or not exact: {reason.removesuffix('.')}.")

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


def memory_in_use(device: torch.device) -> int:
    """Bytes: the device's peak so far, or, on a CPU, what this process has resident (Linux: proc(5), statm)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
