"""The end of a worker's log, for people: bounded, and cleaned of what could deceive a terminal."""

import os
from dataclasses import dataclass
from pathlib import Path

from schemas.assignment import LOG_FILE
from schemas.text import untrusted

MAX_BYTES = 256 * 1024
MAX_LINES = 5000


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
        with path.open("rb") as file:
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
