"""The one exception of the worker: a failure with a code, a place and the next move."""

import errno

from schemas.failures import FAILURES, FailureCode
from schemas.problems import PatchOperation
from schemas.result import Place, TrainingError
from schemas.text import untrusted


class Failure(Exception):
    """A run cannot go on, and the caller can be told why.

    ``message`` says what and the value, in our words; ``next_move`` what to do (by default the code's own);
    ``detail`` is text of user code or data and is passed on as untrusted.
    """

    def __init__(
        self,
        code: FailureCode,
        message: str,
        *,
        next_move: str | None = None,
        place: Place | None = None,
        fix: list[PatchOperation] | None = None,
        detail: str | None = None,
    ) -> None:
        # A name of a file may hold what is no text, and the failure must be written as JSON all the same.
        message = message.encode(errors="backslashreplace").decode()
        super().__init__(message)
        entry = FAILURES[code]
        self.error = TrainingError(
            code=code,
            message=message,
            retryable=entry.retryable,
            recovery=entry.recovery,
            next_move=next_move or entry.next_move,
            place=place,
            fix=fix,
            untrusted=None if detail is None else untrusted(detail),
        )

    def cut(self, longest: int) -> "Failure":
        """Itself; where its document is longer than ``longest`` characters, without its fix and the end of its message."""
        if len(self.error.model_dump_json()) <= longest:
            return self
        message = self.error.message
        if len(message) > longest // 2:
            message = f"{message[: longest // 2]}…"
        cut = Failure(self.error.code, message)
        cut.error = self.error.model_copy(update={"message": message, "fix": None})
        return cut

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self.error.model_dump_json(),)


def is_disk_full(error: BaseException) -> bool:
    """Whether ``error`` says that a disk, or what of it this user may have, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _restore(document: str) -> Failure:
    error = TrainingError.model_validate_json(document)
    failure = Failure(error.code, error.message)
    failure.error = error
    return failure
