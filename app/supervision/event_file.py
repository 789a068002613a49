"""The event file of an attempt, read from where the store has got to: whole lines, in bounded pieces."""

from pathlib import Path

from pydantic import ValidationError

from app.clock import now
from app.foreign_files import open_foreign, size_of_foreign
from app.store.lines import cause_of, unreadable
from schemas.events import Log, WorkerLine

_PIECE_BYTES = 1 << 18
_LINE_BYTES = 16 << 20


def has_more(path: Path, offset: int) -> bool:
    """Whether the file at ``path`` goes on after ``offset``."""
    return size_of_foreign(path) > offset


def read_lines(path: Path, offset: int, *, ended: bool) -> tuple[list[WorkerLine], int]:
    """The next whole lines after byte ``offset``, a quarter of a mebibyte or one line at most, and the offset after them.

    A line without its end is left for later; when its writer has ``ended`` it is torn, and a ``log`` line says so.
    So does one for a line that is no event, or is longer than 16 MiB.
    """
    try:
        with open_foreign(path) as file:
            file.seek(offset)
            piece = file.read(_PIECE_BYTES)
            if b"\n" not in piece and len(piece) == _PIECE_BYTES:
                piece += file.read(_LINE_BYTES - _PIECE_BYTES)
    except FileNotFoundError:
        return [], offset
    whole = piece.rfind(b"\n") + 1
    if whole:
        return [_parse(line) for line in piece[: whole - 1].split(b"\n")], offset + whole
    if len(piece) == _LINE_BYTES:
        return [_log(f"{len(piece)} bytes of a line of the worker that is too long are left out.")], offset + len(piece)
    if piece and ended:
        return [_log(f"The worker's last line is torn; its {len(piece)} bytes are left out.")], offset + len(piece)
    return [], offset


def _parse(line: bytes) -> WorkerLine:
    try:
        return _own(WorkerLine.model_validate_json(line))
    except ValidationError as error:
        return _log(f"A line of the worker is no event and is left out: {cause_of(error)}")


def _own(line: WorkerLine) -> WorkerLine:
    """What a worker says in the name of the service is its own all the same."""
    if line.type != Log.event_type or line.data.get("stream") != "service":
        return line
    return line.model_copy(update={"data": {**line.data, "stream": "worker"}})


def _log(text: str) -> WorkerLine:
    data = unreadable(text)
    return WorkerLine(type=data.event_type, time=now(), data=data.to_json())
