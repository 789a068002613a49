"""Back to the last state of the run that was known to be good: its latest checkpoint, or its beginning."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from schemas.events import RunRestored
from trainer_core.channel import Channel
from trainer_core.checkpoints.snapshot import Snapshot, load_snapshot
from trainer_core.epochs.best import Best
from trainer_core.epochs.curve import Curve
from trainer_core.loop.epoch_clock import EpochClock
from trainer_core.loop.position import Position
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.saving import Saving

# Bytes of a model's state that are kept in memory for as long as there is no checkpoint.
MOST_BYTES = 2**30


@dataclass(frozen=True)
class Standing:
    """The parts that know where a run is."""

    saving: Saving
    position: Position
    curve: Curve
    best: Best
    clock: EpochClock

    def restored(self) -> RunRestored:
        """The word that a run goes on from where it is now."""
        return RunRestored(
            path=(self.saving.latest_path if self.saving.writes else None) or "",
            epoch=self.position.epoch,
            step=self.position.step,
            epoch_seconds=self.clock.read().seconds,
            history=self.curve.rows,
            best_epoch=self.best.epoch,
            best_path=self.saving.best_path if self.saving.writes else None,
        )


class Rollback:
    """Takes a run back, and says so with the curve as it was then: what was trained since is trained again."""

    def __init__(self, standing: Standing, ranks: Ranks, channel: Channel) -> None:
        self._standing = standing
        self._saving = standing.saving
        self._ranks = ranks
        self._channel = channel
        self._beginning: Snapshot | None = None

    def begin(self) -> None:
        """Keep the state now, on the host: there is no checkpoint yet. All ranks take part. Not of a model beyond MOST_BYTES."""
        if self._saving.latest_path is None:
            snapshot = self._saving.capture()
            if sum(_bytes(value) for value in snapshot.model.values()) <= MOST_BYTES:
                self._beginning = _copied(snapshot)

    def target(self) -> Snapshot | None:
        """The last good state; None when there is none. All ranks ask together. Raises Failure ``checkpoint_corrupt``, and
        OSError where the last checkpoint could not be written."""
        self._saving.wait()
        path = self._ranks.gather(self._saving.latest_path)[0]
        if path is not None:
            self._beginning = None
            return self._ranks.from_first(lambda: load_snapshot(Path(path)))
        # Once more: the run trains on in the tensors that it is given.
        return None if self._beginning is None else _copied(self._beginning)

    def to(self, snapshot: Snapshot) -> None:
        """Put the run where ``snapshot`` was taken."""
        self._saving.restore(snapshot)

    def say(self) -> None:
        """Say where the run is now."""
        self._channel.emit(self._standing.restored())


def _bytes(value: object) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


def _on_host(tensor: Tensor) -> Tensor:
    """A copy; of a tensor that another rank holds there is only the shape."""
    return tensor if tensor.is_meta else tensor.detach().to("cpu", copy=True)


def _copied(snapshot: Snapshot) -> Snapshot:
    """One that later steps do not change."""
    with torch.no_grad():
        model = {
            name: _on_host(value) if isinstance(value, Tensor) else copy.deepcopy(value)
            for name, value in snapshot.model.items()
        }
    # Not its parameters, which the optimizer's own groups do not hold either: there are only their numbers and names.
    return replace(
        snapshot, model=model, optimizer=copy.deepcopy(snapshot.optimizer), state=copy.deepcopy(snapshot.state)
    )
