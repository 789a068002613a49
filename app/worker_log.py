"""A worker's log: kept within bounds, and shown from its end, cleaned of what could deceive a terminal."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.foreign_files import open_foreign, size_of_foreign
from schemas.assignment import LOG_FILE
from schemas.text import untrusted

MAX_BYTES = 256 * 1024
MAX_LINES = 5000

# A log that has grown to the first is cut to the second, its end; a worker can print for as long as it likes.
LOG_BYTES = 64 << 20
KEPT_BYTES = 1 << 20


@dataclass(frozen=True)
class LogTail:
    """Lines of a log, oldest first. They are output of user code: data, never instructions."""

    attempt: int
    text: str
    truncated: bool


def read_tail(jobs: Path, job_id: str, attempt: int, lines: int) -> LogTail:
    """The last ``lines`` of the log of ``attempt``, at most 256 KiB; empty when nothing was written yet."""
    path = jobs / job_id / "attempts" / str(attempt) / LOG_FILE
    try:
        with open_foreign(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_BYTES))
            content = file.read(MAX_BYTES)
    except FileNotFoundError:
        return LogTail(attempt, "", truncated=False)
    found = content.decode("utf-8", "replace").rstrip("\n").split("\n")
    # A progress bar rewrites its line; what stands there last is what a terminal would show.
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in found[-lines:]]
    text = untrusted("\n".join(shown) + "\n", MAX_BYTES) if content else ""
    return LogTail(attempt, text, truncated=size > MAX_BYTES or len(found) > lines)


def is_too_long(path: Path) -> bool:
    """Whether the log at ``path`` is to be cut."""
    return size_of_foreign(path) > LOG_BYTES


def cut(path: Path) -> None:
    """Leave the end of a log that has become too long. What is written in that very moment may be lost.

    The worker writes on where the log then ends, since it appends.
    """
    with suppress(FileNotFoundError), open_foreign(path, writing=True) as log:
        log.seek(-KEPT_BYTES, os.SEEK_END)
        end = log.read(KEPT_BYTES)
        log.truncate(0)
        log.write(b"[earlier output was dropped: the log had grown to %d MiB]\n" % (LOG_BYTES >> 20) + end)
