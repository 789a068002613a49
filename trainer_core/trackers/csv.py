"""metrics.csv: the learning curve as a table, one row per epoch, its columns named as in the payload."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from schemas.base import Document
from schemas.events import EpochCompleted, RunRestored, WorkerLine
from schemas.files import write_atomically
from schemas.result import EpochRow
from trainer_core.trackers.event_log import EventLog

METRICS_FILE = "metrics.csv"

_COLUMNS = [EpochRow.model_fields[name].alias or name for name in EpochRow.model_fields if name != "metrics"]


def _cells(row: Document) -> dict[str, Any]:
    document: dict[str, Any] = row.to_json()
    return {**document.pop("metrics", {}), **{name: document[name] for name in _COLUMNS if name in document}}


def _lines(columns: list[str], rows: Iterable[dict[str, Any]], *, header: bool) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


class MetricsTable:
    """Writes the table from the events of one attempt; what stood there before is replaced by the first row.

    A batch of events is written in one go: after an error the same batch may be given again.
    """

    seconds_between_reads: ClassVar[float] = 0.1

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / METRICS_FILE
        self._columns: list[str] = []
        self._bytes = 0

    def take(self, lines: Sequence[WorkerLine]) -> None:
        """Write what ``lines`` say about epochs. Raises OSError."""
        rows: list[dict[str, Any]] = []
        begin = not self._columns
        for line in lines:
            if line.type == RunRestored.event_type:
                rows = [_cells(row) for row in RunRestored.model_validate(line.data).history]
                begin, self._columns = True, []
            elif line.type == EpochCompleted.event_type:
                rows.append(_cells(EpochCompleted.model_validate(line.data)))
        if not rows:
            return
        columns = list(
            dict.fromkeys([*_COLUMNS, *(() if begin else self._columns), *(name for row in rows for name in row)])
        )
        if begin:
            self._replace(columns, rows)
        elif columns != self._columns:
            with self._path.open(newline="") as file:
                self._replace(columns, [*csv.DictReader(file), *rows])
        else:
            self._append(rows)

    def close(self, _state: str) -> None:
        """Leave a table without rows when there never was an epoch, here or in an earlier attempt."""
        if not self._path.exists():
            self._replace(_COLUMNS, [])

    def fail(self, reason: str) -> None:
        """Nothing to say: the worker writes the table again from the log when the run is over."""

    def _replace(self, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
        content = _lines(columns, rows, header=True)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, content)
        self._columns, self._bytes = columns, len(content)

    def _append(self, rows: Iterable[dict[str, Any]]) -> None:
        content = _lines(self._columns, rows, header=False)
        with self._path.open("r+b") as file:
            file.truncate(self._bytes)
            file.seek(self._bytes)
            file.write(content)
        self._bytes += len(content)


def write_metrics(attempt_folder: Path, run_folder: Path) -> None:
    """Write the whole table from the log of an attempt. Raises OSError."""
    table = MetricsTable(run_folder)
    log = EventLog(attempt_folder)
    while lines := log.read():
        table.take(lines)
    log.close()
    table.close("")
