"""The border to the user's code: whatever it raises becomes one failure, with the line in the user's file."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.failures import FailureCode
from schemas.result import Place
from trainer_core.failure import Failure, is_disk_full

_OURS = (Failure, MemoryError, KeyboardInterrupt, GeneratorExit)


def user_place(exception: BaseException, path: Path) -> Place | None:
    """The innermost line of the file at ``path`` that ``exception`` came through; None when it never was there."""
    lines = [
        line for frame, line in traceback.walk_tb(exception.__traceback__) if frame.f_code.co_filename == str(path)
    ]
    return Place(path=str(path), line=lines[-1]) if lines else None


class running:  # noqa: N801 - read as a statement: with running(path, ...)
    """Run code of the user's file at ``path``: what it raises, ``SystemExit`` and other exceptions that are no errors
    included, is a ``Failure`` of ``code`` that says what we were ``doing``. A failure of our own, a want of memory or of
    room on the disk (for what it prints, too), and a person's Ctrl-C pass as they are. One may be entered many times."""

    __slots__ = ("_code", "_doing", "_path")

    def __init__(self, path: Path, code: FailureCode, doing: str) -> None:
        self._path = path
        self._code: FailureCode = code
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, _OURS) or is_disk_full(error):
            return
        path = self._path
        place = user_place(error, path) or Place(path=str(path))
        where = f"line {place.line} of {path.name}" if place.line else path.name
        detail = "".join(traceback.format_exception(error))
        message = f"{type(error).__name__} while {self._doing} ({where})."
        next_move = _not_there(error) or "Mend the model file at the named line; the error's text is in untrusted."
        raise Failure(self._code, message, next_move=next_move, place=place, detail=detail) from error


def _not_there(error: BaseException) -> str | None:
    """What to do about a file that was looked for where the worker happens to run."""
    name = getattr(error, "filename", None)
    if not isinstance(error, FileNotFoundError) or not isinstance(name, str | Path) or Path(name).is_absolute():
        return None
    return (
        f"{str(name)[:200]!r} was looked for in {Path.cwd()}, where the worker runs: name it from the model file, as in "
        "Path(__file__).parent / name, or by a path from modelConfig.args."
    )


def guarded(function: Callable[..., Any], path: Path, doing: str) -> Callable[..., Any]:
    """``function`` of the user's file at ``path``; what it raises is a ``Failure`` ``model_invalid``."""

    def call(*arguments: Any) -> Any:
        with running(path, "model_invalid", doing):
            return function(*arguments)

    return call
