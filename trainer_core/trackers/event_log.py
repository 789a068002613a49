"""The event log of an attempt, read while it is written."""

from pathlib import Path

from schemas.assignment import EVENTS_FILE
from schemas.events import WorkerLine

_CHUNK_BYTES = 1024 * 1024


class EventLog:
    """Reads on from where it was: each reader of a log has one of its own."""

    def __init__(self, attempt_folder: Path) -> None:
        self._file = (attempt_folder / EVENTS_FILE).open("rb")

    def read(self) -> list[WorkerLine]:
        """The next whole lines, about 1 MiB of them at most; empty when there is nothing new.

        The half line that a crash left at the end is never returned.
        """
        start = self._file.tell()
        chunk = self._file.read(_CHUNK_BYTES)
        if len(chunk) == _CHUNK_BYTES:
            chunk += self._file.readline()
        whole = chunk[: chunk.rfind(b"\n") + 1]
        self._file.seek(start + len(whole))
        return [WorkerLine.model_validate_json(line) for line in whole.splitlines()]

    def close(self) -> None:
        """Read no more."""
        self._file.close()
