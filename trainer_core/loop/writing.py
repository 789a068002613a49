"""Who writes a checkpoint: the loop itself, or a thread beside it."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from trainer_core.checkpoints.checkpoint_folder import Parts
from trainer_core.checkpoints.host_copy import HostCopy
from trainer_core.checkpoints.snapshot import PackedSnapshot
from trainer_core.loop.footprint import free_host_memory

# Makes a checkpoint of the parts; the time at which training went on, None where it waits for the end.
Write = Callable[[Parts, float | None], None]

# Of the free host memory, what the copy of a state may take.
_MOST = 0.5


class Writing:
    """Training stands still until a checkpoint is on disk. The null form."""

    def begin(self, packed: PackedSnapshot, write: Write) -> None:
        """Have ``write`` write ``packed``, whose tensors the run may change afterwards. Raises what ``write`` raises."""
        write(packed, None)

    def look(self) -> None:
        """Raise what befell a checkpoint that was begun and has ended since."""

    def wait(self) -> None:
        """Wait until the checkpoint that was begun is written, and raise what befell it."""

    def close(self) -> None:
        """Wait for it, whatever befalls it: the run ends by another failure, or has looked."""


class BackgroundWriting(Writing):
    """A thread writes from a copy in host memory, for which alone training waits; from one checkpoint at a time. Where there
    is no room for the copy, training waits for the disk.

    The thread hashes, writes and syncs outside of Python's lock, so a process of its own would gain nothing.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._begun: Future[None] | None = None
        self._copy = HostCopy()

    def begin(self, packed: PackedSnapshot, write: Write) -> None:
        self.wait()
        missing = self._copy.missing(packed)
        if missing and missing > _MOST * free_host_memory():
            write(packed, None)
            return
        copied = self._copy.take(packed)
        self._begun = self._thread.submit(write, copied, time.monotonic())

    def look(self) -> None:
        if self._begun is not None and self._begun.done():
            self.wait()

    def wait(self) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.result()

    def close(self) -> None:
        self._thread.shutdown()


def build_writing(in_background: bool) -> Writing:
    """Writing as ``checkpointConfig.asyncSave`` says."""
    return BackgroundWriting() if in_background else Writing()
