"""The batch-size finder: how many samples a device takes at a time, by passes and steps of the loop itself, undone again."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from schemas.events import RunTuned
from schemas.tuning import BatchSizeFinder
from trainer_core.failure import Failure
from trainer_core.loop.batches import JoinedBatch, OptimizerBatch
from trainer_core.loop.forward import shortage
from trainer_core.loop.heap import give_back_freed_memory
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.recovery.memory import Memory
from trainer_core.loop.strategies.synced_norm import norms_alone
from trainer_core.loop.trainer import Trainer
from trainer_core.loop.trees import leaves
from trainer_core.loop.tuning.beginning import undone
from trainer_core.loop.tuning.growth import evenly, largest_fitting
from trainer_core.loop.tuning.room import build_room

SETTING = "/dataConfig/microBatchSize"
# Optimizer batches of which the one with the most bytes is tried.
_LOOKED_AT = 4
# Twice the samples at once are worth their memory when this much more of them go through in a second.
_WORTH = 1.05


@dataclass
class Trials:
    """Sizes that were tried: whether they fit on every rank, and the samples per second of the slowest."""

    trainer: Trainer
    batch: OptimizerBatch | JoinedBatch
    repetitions: int
    measured: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False

    def __post_init__(self) -> None:
        self._room = build_room(self.trainer.device)

    def fits(self, size: int) -> bool:
        """Whether passes of ``size`` samples forward and backward, and a step after them, find memory on every rank."""
        self.stopped = self.stopped or self.trainer.ranks.any(self.trainer.stop.requested)
        if self.stopped:
            return False
        expected = self._room.expects(size)
        seconds = self._seconds(size) if expected else None
        slowest = [each for each in self.trainer.ranks.gather(seconds) if each is not None]
        fits = not self.trainer.ranks.any(seconds is None)
        if fits:
            self._room.note(size)
        speed = {"samplesPerSecond": round(self.trainer.ranks.world / max(slowest), 1)} if fits else {}
        untried = {} if expected else {"expected": True}
        self.measured.append({"microBatch": size, "fits": fits, **speed, **untried})
        return fits

    def speed(self, size: int) -> float:
        """Samples per second of a size that fitted."""
        return float(next(each["samplesPerSecond"] for each in self.measured if each["microBatch"] == size))

    def _seconds(self, size: int) -> float | None:
        """Of a sample, in the fastest of a few times; None when memory runs out. This rank is by itself: others need not fail too."""
        trainer = self.trainer
        alone = replace(trainer, network=trainer.model, ranks=Ranks(), memory=Memory(size))
        part = self.batch.first(2 * size)
        try:
            # Takes the memory that the optimizer's state and the gradients of an earlier pass have beside a pass.
            alone.learn(part, alone.schedule.learning_rate(0, 0), lambda _loss, _norm: True)
            fastest = min(_timed(lambda: alone.accumulate(part), trainer) for _ in range(self.repetitions - 1))
            return fastest / part.samples
        except (Failure, RuntimeError, MemoryError) as error:
            if shortage(error) is None:
                raise
        finally:
            trainer.gradients.clear()
        # Only here is the exception let go, and with it the frames that hold the tensors of the pass.
        give_back_freed_memory()
        return None


def find_micro_batch(trainer: Trainer, wanted: BatchSizeFinder, cut: Callable[[int], int | None]) -> RunTuned:
    """What trials on ``trainer``, which has not taken a step, find, and the size to train with. All ranks take part, and find the
    same. ``cut`` gives the largest size, up to one, that leaves no pass too small for the model."""
    began, asked = time.monotonic(), trainer.memory.size
    batch = _largest_batch(trainer)
    trials = Trials(trainer, batch, wanted.steps_per_trial)
    with undone(trainer), norms_alone(trainer.model):
        found, words = _search(trials, wanted, min(asked, batch.largest_share))
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trainer.device)
    if found is not None:
        found = cut(evenly(found, batch.largest_share)) or found
    used = found if found is not None and wanted.action == "use" else asked
    passes = "" if found is None else f": {-(-batch.largest_share // found)} passes of at most {found}"
    return RunTuned(
        setting=SETTING,
        found=found,
        used=used,
        reason=f"{words}{passes} (a device's share of an optimizer batch is {batch.largest_share} samples).",
        seconds=time.monotonic() - began,
        measured=trials.measured,
    )


def _search(trials: Trials, wanted: BatchSizeFinder, start: int) -> tuple[int | None, str]:
    """The size that the trials speak for, and why."""
    most = trials.batch.largest_share
    found = _fastest(trials, most) if wanted.by == "throughput" else largest_fitting(trials.fits, start, most)
    if trials.stopped:
        return None, "The run was asked to stop"
    if found is None:
        return None, "Not even one sample fits"
    if found == most:
        return found, f"A whole share fits, at {trials.speed(found):,.0f} samples/s"
    if wanted.by == "throughput":
        return found, f"More than {found} at a time are no faster, or do not fit ({trials.speed(found):,.0f} samples/s)"
    return found, f"The largest size that fits is {found}, to a sixteenth, at {trials.speed(found):,.0f} samples/s"


def _fastest(trials: Trials, most: int) -> int | None:
    """1, 2, 4, ... or ``most``: the size from which twice as many samples at once were not worthwhile faster."""
    best, size = None, 1
    while trials.fits(size):
        if best is not None and trials.speed(size) < _WORTH * trials.speed(best):
            break
        best = size
        if size == most:
            break
        size = min(2 * size, most)
    return best


def _largest_batch(trainer: Trainer) -> OptimizerBatch | JoinedBatch:
    """Of the first full optimizer batches the one with the most bytes: samples may differ in length."""
    steps = min(_LOOKED_AT, trainer.length.steps_per_epoch)
    with closing(trainer.batches.of_epoch(0, 0, steps)) as batches:
        return max(batches, key=lambda batch: (batch.largest_share, _bytes(batch)))


def _bytes(batch: OptimizerBatch | JoinedBatch) -> int:
    held = batch.pieces if isinstance(batch, JoinedBatch) else (batch.inputs, batch.targets)
    return sum(leaf.nbytes for leaf in leaves(held) if isinstance(leaf, Tensor))


def _timed(work: Callable[[], object], trainer: Trainer) -> float:
    """Seconds of ``work``, to the end of what the device does of it."""
    began = time.perf_counter()
    work()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return time.perf_counter() - began
