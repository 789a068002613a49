"""When a run's checkpoints are written, and which of them are the best and the latest."""

import time
from pathlib import Path

from schemas.checkpointing import CheckpointConfig
from trainer_core.channel import Channel
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder, find_checkpoint
from trainer_core.checkpoints.manifest import Kind, read_manifest
from trainer_core.checkpoints.snapshot import Snapshot
from trainer_core.loop.position import Position
from trainer_core.loop.run_state import RunState


class Saving:
    """Writes the state of a run into ``folder``, which only the first rank has; the others give what is theirs.

    ``best_path`` is the best checkpoint so far, that of a run before a resume included.
    """

    def __init__(
        self, run_state: RunState, folder: CheckpointFolder | None, config: CheckpointConfig, channel: Channel
    ) -> None:
        self._run_state = run_state
        self._folder = folder
        self._config = config
        self._channel = channel
        self.best_path: str | None = None
        self.latest_path: str | None = None

    @property
    def writes(self) -> bool:
        """Whether the checkpoints are this rank's own: other nodes do not have them."""
        return self._folder is not None

    def due(self, epoch: int, is_best: bool, ends: bool) -> bool:
        """Whether to save after the completed ``epoch``: every saveEvery epochs, at the end, and whenever it is the best."""
        return ends or is_best or epoch % self._config.save_every == 0

    def due_in_epoch(self, position: Position) -> bool:
        """Whether to save in mid-epoch, after the latest step."""
        every = self._config.save_every_steps
        return every is not None and position.step % every == 0

    def save(self, kind: Kind, position: Position, is_best: bool = False) -> None:
        """Write a checkpoint and say so. All ranks take part. Raises OSError when the disk is full."""
        began = time.monotonic()
        snapshot = self._run_state.capture(None if is_best else self.best_path)
        if self._folder is None:
            return
        saved = self._folder.save(snapshot, kind=kind, epoch=position.number, step=position.step, is_best=is_best)
        self.latest_path = saved.path
        self.best_path = saved.path if is_best else self.best_path
        self._channel.emit(saved.model_copy(update={"seconds": time.monotonic() - began}))

    def capture(self) -> Snapshot:
        """The state now, as the next checkpoint would hold it; later steps change it. All ranks take part."""
        return self._run_state.capture(self.best_path)

    def restore(self, snapshot: Snapshot) -> None:
        """Put the run where ``snapshot`` was taken. Raises Failure ``checkpoint_incompatible`` for one of another model."""
        self._run_state.restore(snapshot)
        self.latest_path = None if snapshot.path is None else str(snapshot.path)
        self.best_path = snapshot.state["bestPath"] or self.latest_path


def saved_choice(config: CheckpointConfig, name: str) -> str | None:
    """What the run that ``resumeFrom`` names had chosen; None without one, or where it is unknown."""
    if config.resume_from is None:
        return None
    path = find_checkpoint(config.resume_from, None if config.save_dir is None else Path(config.save_dir))
    return read_manifest(path).about.get(name)


def saved_threads(config: CheckpointConfig) -> int | None:
    """CPU threads of the run that ``resumeFrom`` names; None without one, or where it is unknown. With another number
    sums are rounded in another order, and a resume would not be exact to the bit."""
    threads = saved_choice(config, "threads")
    return None if threads is None else int(threads)
