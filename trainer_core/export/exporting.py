"""What is done with the best weights when the training is over: the files that exportConfig asks for."""

import os
import pickle
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import torch

from schemas.assignment import Assignment
from schemas.events import ExportCompleted, ExportProgress
from schemas.exporting import EXPORTS, ExportFormat
from schemas.files import sync_folder
from schemas.result import Artifact, Export
from trainer_core.channel import Channel
from trainer_core.data.samples import Data
from trainer_core.export.child import ExportProcess
from trainer_core.export.messages import Word, Work
from trainer_core.export.trial import Trial, trials
from trainer_core.failure import Failure, is_disk_full
from trainer_core.guard.tree import Member, Tree, shared_fairly
from trainer_core.stop import Stop

# Between two signs of life.
_SAY_SECONDS = 2.0
# What is left free for what the run has still to say.
_RESERVE_BYTES = 1 << 20
# Without a word of its own for so long an export hangs; limits.maxSilentSeconds says otherwise.
_SILENT_SECONDS = 1800.0
# Until its first word it loads torch, which is none of the request's time; at least so long.
_START_SECONDS = 120.0


class Exporting:
    """Nothing is to be exported. The null form."""

    def run(self, checkpoint: str | None) -> list[Artifact]:
        """Make the files of the weights in ``checkpoint``; those that are there."""
        return []


class WantedExporting(Exporting):
    """Makes each format in turn, in a process of its own, and says what came of it. Whatever goes wrong there is said, and
    costs the run nothing."""

    def __init__(self, assignment: Assignment, data: Data, channel: Channel, stop: Stop) -> None:
        self._assignment = assignment
        self._data = data
        self._channel = channel
        self._stop = stop
        self._silent = assignment.request.limits.max_silent_seconds or _SILENT_SECONDS
        self._said: dict[ExportFormat, Export] = {}

    def run(self, checkpoint: str | None) -> list[Artifact]:
        left = list(dict.fromkeys(self._assignment.request.export_config.formats))
        if checkpoint is None:
            failure = Failure("export_failed", "There is nothing to export: no checkpoint was saved.")
            for name in left:
                self._say(Export(format=name, status="failed", error=failure.error))
            return []
        work = self._order(checkpoint, left)
        try:
            self._clear(work)
            samples = pickle.dumps(self._trials())
            while work.formats:
                self._work(work, samples)
                work = work.model_copy(update={"formats": self._left(work)})
        except Exception as error:
            # A border to code of the user, whose data set gives the samples and may raise anything; and neither the disk nor what
            # comes out of the pipe is worth the run either.
            self._give_up(self._left(work), _failure(error), work)
        return [_artifact(export) for export in self._said.values() if export.status == "exported"]

    def _order(self, checkpoint: str, formats: list[ExportFormat]) -> Work:
        return Work(
            assignment=self._assignment,
            checkpoint=checkpoint,
            formats=formats,
            threads=torch.get_num_threads(),
            memory=_memory_left(self._assignment.bounds.memory_bytes),
        )

    def _clear(self, work: Work) -> None:
        """An empty folder, whatever an attempt before this one has left."""
        if work.folder.exists():
            shutil.rmtree(work.folder)
        work.folder.mkdir(parents=True)
        sync_folder(work.folder.parent)

    def _left(self, work: Work) -> list[ExportFormat]:
        return [name for name in work.formats if name not in self._said]

    def _trials(self) -> list[Trial]:
        return trials(self._data.train if self._data.validation is None else self._data.validation)

    def _work(self, work: Work, samples: bytes) -> None:
        """Let one process make what it can. When it ends before its time, the format in progress is the one that failed; another
        one may be asked for the rest."""
        watch = _Watch(work.formats[0], self._channel)
        with ExportProcess(work, samples) as process:
            trouble = self._follow(process, work, watch)
            status = process.wait()
        left = self._left(work)
        failed = left if trouble is not None and trouble.error.code == "cancelled" else left[:1]
        self._give_up(failed, trouble or _lost(status), work)

    def _follow(self, process: ExportProcess, work: Work, watch: "_Watch") -> Failure | None:
        """Hear the process until it has ended; why it was ended, where it did not end by itself."""
        trouble: Failure | None = None
        for word in process.words():
            if word is not None:
                watch.hear(word)
                if word.export is not None:
                    self._conclude(work, word.export)
            watch.say()
            trouble = trouble or self._trouble(watch)
            if trouble is not None:
                process.kill()
        return trouble

    def _trouble(self, watch: "_Watch") -> Failure | None:
        """Why the process is to be ended."""
        if self._stop.requested:
            reason = Stop.reason(Path(self._assignment.attempt_folder))
            if reason in ("cancelled", "timeout"):
                why = "was cancelled" if reason == "cancelled" else "reached limits.maxSeconds"
                return Failure("cancelled", f"The job {why} while it exported; the training was over by then.")
        if watch.silent > (self._silent if watch.has_heard else max(self._silent, _START_SECONDS)):
            message = f"The export said nothing for {watch.silent:.0f} s and was ended."
            return Failure("hung", message, next_move="Raise limits.maxSilentSeconds, or look at what the model does.")
        return None

    def _conclude(self, work: Work, export: Export) -> None:
        """Put a file in its place, and say so; or say why there is none. A file that leaves the run no room is no gain."""
        if export.status == "exported" and export.format in self._left(work):
            work.draft(export.format).rename(work.place(export.format))
            sync_folder(work.folder)
            if _free_bytes(work.folder) >= _RESERVE_BYTES:
                self._say(export)
                return
            export = Export(format=export.format, status="failed", error=_disk_full().error)
        if export.error is not None:
            self._remove(work, export.format)
            self._say(export)

    def _give_up(self, formats: list[ExportFormat], failure: Failure, work: Work) -> None:
        for name in formats:
            self._remove(work, name)
        for name in formats:
            self._say(Export(format=name, status="failed", error=failure.error))

    def _remove(self, work: Work, format: ExportFormat) -> None:
        for path in (work.draft(format), work.place(format)):
            path.unlink(missing_ok=True)

    def _say(self, export: Export) -> None:
        self._channel.emit(ExportCompleted.model_validate(export.model_dump()))
        self._said[export.format] = export
        if export.error is not None:
            error, title = export.error, EXPORTS[export.format].title
            message = f"No {title} file was made, and the training is whole: {error.message}"
            self._channel.warn("export_failed", message, remedy=error.next_move, failure=error.code)


class _Watch:
    """What the process is at, and for how long: said when it changes, and every two seconds."""

    def __init__(self, first: ExportFormat, channel: Channel) -> None:
        self._channel = channel
        self._format, self._stage = first, "preparing"
        self._began = self._heard = time.monotonic()
        self._next = 0.0
        self.has_heard = False

    @property
    def silent(self) -> float:
        """Seconds since its latest word."""
        return time.monotonic() - self._heard

    def hear(self, word: Word) -> None:
        """A word of the process."""
        self._heard, self.has_heard = time.monotonic(), True
        if word.format != self._format:
            self._format, self._began = word.format, self._heard
        if word.stage not in (None, self._stage):
            self._stage, self._next = word.stage, 0.0

    def say(self) -> None:
        """Say where it is, when it is time."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SAY_SECONDS
            # What fills the disk may be the export, and is gone when it fails.
            with suppress(OSError):
                self._channel.emit(ExportProgress(format=self._format, stage=self._stage, seconds=now - self._began))


def _memory_left(most: int | None) -> int | None:
    """Bytes that the job may still take, where it may not take all there is. What this process has stays with it."""
    if most is None:
        return None
    return most - shared_fairly([Member(os.getpid(), 0, 0), *Tree().look()])


def _artifact(export: Export) -> Artifact:
    path = Path(export.path or "")
    return Artifact(
        name=f"{path.parent.name}/{path.name}", path=str(path), bytes=export.bytes or 0, sha256=export.sha256
    )


def _lost(status: int) -> Failure:
    """The failure of a process that ended without a word."""
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    cause = "; the kernel's out-of-memory killer is a likely cause" if status == -signal.SIGKILL else ""
    return Failure("export_failed", f"The process that exports ended {how}{cause}. The job's log may have more.")


def _failure(error: Exception) -> Failure:
    if isinstance(error, Failure):
        return error
    if is_disk_full(error):
        return _disk_full()
    return Failure("export_failed", f"The export met an unexpected {type(error).__name__}.", detail=str(error))


def _disk_full() -> Failure:
    move = "Free disk space, then submit again with resumeFrom set to the run's folder: nothing is trained again."
    return Failure("disk_full", "No space left on the disk of the run.", next_move=move)


def _free_bytes(folder: Path) -> int:
    place = os.statvfs(folder)
    return place.f_bavail * place.f_frsize


def build_exporting(assignment: Assignment, data: Data, channel: Channel, stop: Stop) -> Exporting:
    """Exporting as the request says: none where no format is named."""
    wanted = assignment.request.export_config.formats
    return WantedExporting(assignment, data, channel, stop) if wanted else Exporting()
