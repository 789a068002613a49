"""When a run's checkpoints are written, and which of them are the best and the latest."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from schemas.checkpointing import CheckpointConfig
from schemas.events import CheckpointSaved
from trainer_core.channel import Channel
from trainer_core.checkpoints.best_checkpoint import ITSELF, BestCheckpoint
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder, Parts, find_checkpoint
from trainer_core.checkpoints.manifest import Kind, read_manifest
from trainer_core.checkpoints.snapshot import Snapshot
from trainer_core.loop.continuation import Continuation
from trainer_core.loop.position import Position
from trainer_core.loop.run_state import RunState
from trainer_core.loop.writing import Writing


class Saving:
    """Has the state of a run written into ``folder``, which only the first rank has; the others give what is theirs.

    ``latest_path`` is the newest checkpoint and ``best_path`` the best one so far, those of a run before a resume included:
    of a checkpoint that is being written only after a ``wait``.
    """

    def __init__(
        self,
        run_state: RunState,
        folder: CheckpointFolder | None,
        config: CheckpointConfig,
        writing: Writing,
        continuation: Continuation,
        channel: Channel,
    ) -> None:
        self._run_state = run_state
        self._folder = folder
        self._config = config
        self._writing = writing
        self._continuation = continuation
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

    @property
    def averaged(self) -> str:
        """What of the average that was taken up is not that of a run of this length."""
        return self._continuation.averaged

    def note_cut(self) -> None:
        """The epoch that comes to be judged was cut short."""
        self.wait()
        self._continuation.cut.note(self.best_path)

    def save(self, kind: Kind, position: Position, is_best: bool = False) -> None:
        """Have a checkpoint of the state now written, and said when it is on disk; the one before it is on disk by then. All
        ranks take part. Raises OSError when the disk is full, be it here or at the next ``look`` or ``wait``."""
        began = time.monotonic()
        self.wait()
        snapshot = self._run_state.capture(ITSELF if is_best else BestCheckpoint(self.best_path))
        if self._folder is None:
            return
        save = partial(self._folder.save, kind=kind, epoch=position.number, step=position.step, is_best=is_best)
        self._writing.begin(snapshot.packed(), partial(self._write, save, began))

    def _write(
        self, save: Callable[[Parts], CheckpointSaved], began: float, parts: Parts, went_on: float | None
    ) -> None:
        """Write ``parts``, perhaps in another thread, while training, which stopped when it ``began``, ``went_on``."""
        saved = save(parts)
        ended = time.monotonic()
        seconds = {"seconds": ended - began, "stall_seconds": (ended if went_on is None else went_on) - began}
        self._channel.emit(saved.model_copy(update=seconds))
        self.latest_path = saved.path
        self.best_path = saved.path if saved.is_best else self.best_path

    def look(self) -> None:
        """Raise OSError where a checkpoint could not be written since the last look."""
        self._writing.look()

    def wait(self) -> None:
        """Wait until the last checkpoint is on disk, and has been said. Raises OSError where it could not be written."""
        self._writing.wait()

    def close(self) -> None:
        """Wait for it, and let it fail: the run ends for another reason."""
        self._writing.close()

    def capture(self) -> Snapshot:
        """The state now, as the next checkpoint would hold it; later steps change it. All ranks take part."""
        return self._run_state.capture(BestCheckpoint(self.best_path))

    def restore(self, snapshot: Snapshot) -> None:
        """Put the run where ``snapshot`` was taken. All ranks take part. Raises Failure ``checkpoint_incompatible`` for one of
        another model."""
        self._run_state.restore(snapshot)
        self.latest_path = None if snapshot.path is None else str(snapshot.path)
        best_path = BestCheckpoint.of(snapshot.state).found_at(self.latest_path)
        self.best_path = self._continuation.follow(snapshot.state, best_path)


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
