"""The watch that a warden keeps over what its worker takes. Little is imported here: the warden stays small."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer_core.guard.tree import Member, Tree, shared_fairly

# Kept apart from schemas/isolation.py, whose import loads pydantic; a test compares.
THREADS_PER_PROCESS = 32
# Looking at a disk takes at most this share of the time.
_DISK_SHARE = 0.05
_DISK_SECONDS = 1.0


@dataclass(frozen=True)
class Excess:
    """What a job had too much of, for which it is ended."""

    code: Literal["out_of_memory", "quota_exceeded"]
    message: str
    next_move: str


class Watch:
    """Looks at the processes that came from this one. Bounds that are absent hold nothing back."""

    def __init__(self, bounds: dict[str, int], folders: list[Path]) -> None:
        self._memory = bounds.get("memoryBytes")
        self._processes = bounds.get("processes")
        self._disk = bounds.get("diskBytes")
        self._folders = folders
        self._tree = Tree()
        self._disk_at = 0.0

    @staticmethod
    def of(assignment: dict[str, Any]) -> "Watch":
        """The watch that an assignment (as JSON) asks for."""
        folders = [Path(assignment["attemptFolder"]), Path(assignment["runFolder"])]
        return Watch(assignment.get("bounds", {}), folders)

    def look(self) -> Excess | None:
        """What there is too much of now; the processes are then ended."""
        if self._memory is None and self._processes is None and self._disk is None:
            return None
        members = self._tree.look()
        excess = self._of_processes(members) or self._of_memory(members) or self._of_disk()
        if excess is not None:
            self._tree.kill()
        return excess

    def _of_processes(self, members: list[Member]) -> Excess | None:
        if self._processes is None:
            return None
        threads = sum(member.threads for member in members)
        if len(members) <= self._processes and threads <= self._processes * THREADS_PER_PROCESS:
            return None
        message = (
            f"The job had {len(members)} processes with {threads} threads; resources.processes allows "
            f"{self._processes} with {THREADS_PER_PROCESS} each."
        )
        return Excess("quota_exceeded", message, "Start fewer (dataConfig.numWorkers), or raise resources.processes.")

    def _of_memory(self, members: list[Member]) -> Excess | None:
        if self._memory is None or sum(member.resident for member in members) <= self._memory:
            return None
        held = shared_fairly(members)
        if held <= self._memory:
            return None
        message = (
            f"The job's processes held {held >> 20} MiB of memory; resources.memoryMiB allows {self._memory >> 20}."
        )
        move = (
            "Halve batchSize and double gradientAccumulation, use fewer loader workers, or raise resources.memoryMiB."
        )
        return Excess("out_of_memory", message, move)

    def _of_disk(self) -> Excess | None:
        began = time.monotonic()
        if self._disk is None or began < self._disk_at:
            return None
        held = sum(map(size_of, self._folders))
        now = time.monotonic()
        self._disk_at = now + max(_DISK_SECONDS, (now - began) / _DISK_SHARE)
        if held <= self._disk:
            return None
        message = f"The job's files hold {held >> 20} MiB of disk; resources.diskMiB allows {self._disk >> 20}."
        return Excess("quota_exceeded", message, "Keep fewer checkpoints (keepLast), or raise resources.diskMiB.")


def size_of(folder: Path) -> int:
    """Bytes on disk of all files below ``folder``; what vanishes meanwhile counts nothing, and no link is followed."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(parent, name)).st_blocks * 512
            except OSError:
                continue
