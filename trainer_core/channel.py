"""The channel: the only way a run speaks. Typed events in, whole JSON lines appended to the attempt's event file."""

import json
import math
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from schemas.events import Alert, EventData, Log

# Events after which the machine may lose power and the file must still hold them.
_SYNCED = frozenset({"checkpoint.saved", "run.finalizing"})


# Log lines of one worker that are kept; what it prints goes to its own log, which has another bound.
LOG_LINES = 10_000


def finite(value: float) -> float | None:
    """``value``, or None where it is NaN or infinite: what could not be measured is left out of JSON."""
    return float(value) if math.isfinite(value) else None


class Channel:
    """Speaks to nobody; keeps what was said. The channel of tests, and of every rank but the first."""

    def __init__(self) -> None:
        self.said: list[EventData] = []

    def emit(self, data: EventData) -> None:
        """Say one event."""
        self.said.append(data)

    def warn(self, code: str, message: str, *, remedy: str | None = None, **evidence: object) -> None:
        """Say an alert of level ``warning``; it also stands in the payload."""
        self.emit(Alert(code=code, level="warning", message=message, remedy=remedy, evidence=evidence))

    def close(self) -> None:
        """Nothing more will be said."""


def _write_whole(file: int, line: bytes) -> None:
    """Append all of ``line`` or, where the disk is full, nothing: a half line would swallow the next one."""
    end = os.fstat(file).st_size
    written = 0
    try:
        while written < len(line):
            written += os.write(file, line[written:])
    except OSError:
        os.ftruncate(file, end)
        raise


class FileChannel(Channel):
    """Appends each event as one line, in one write: a reader never sees half of one, but for the last after a crash."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()
        self._log_lines = 0

    def emit(self, data: EventData) -> None:
        """Append one event; raises OSError when the disk is full. Of log lines the first ``LOG_LINES`` are kept."""
        if isinstance(data, Log):
            with self._lock:
                self._log_lines += 1
                if self._log_lines > LOG_LINES:
                    return
        self._append(data)

    def _append(self, data: EventData) -> None:
        line = {
            "type": data.event_type,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": data.to_json(),
        }
        text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
        with self._lock:
            _write_whole(self._file, text.encode("utf-8", "replace"))
        if data.event_type in _SYNCED:
            # Whoever speaks meanwhile need not wait for the disk.
            os.fsync(self._file)

    def close(self) -> None:
        """Make what was said durable, and say how many log lines were not."""
        if self._log_lines > LOG_LINES:
            text = f"{self._log_lines - LOG_LINES} further log lines were left out; the first {LOG_LINES} of a worker are kept."
            self._append(Log(level="warning", stream="worker", text=text))
        os.fsync(self._file)
        os.close(self._file)
