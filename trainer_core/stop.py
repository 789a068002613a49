"""Asked to stop: SIGTERM sets a flag that the run looks at between two steps."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from schemas.assignment import STOP_FILE, StopOrder, StopReason


class Stopped(BaseException):
    """The request to stop has come while there was nothing to save."""


class Stop:
    """Whether, and why, this process was asked to stop."""

    _breaks_off = False

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Take SIGTERM as a request to stop at the next step. Only in the main thread of a worker process.

        Processes that the user's code forks end by it, as whoever forked them expects (``multiprocessing.Pool`` does)."""
        signal.signal(signal.SIGTERM, self._on_signal)
        os.register_at_fork(after_in_child=_listen_no_more)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._breaks_off:
            raise Stopped

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """For what takes seconds and leaves nothing to save, as an import does: a request to stop, also one that has come
        before, raises ``Stopped``."""
        try:
            self._breaks_off = True
            if self.requested:
                raise Stopped
            yield
        finally:
            self._breaks_off = False
        # Where the signal came in a destructor, Python has passed over what it raised.
        if self.requested:
            raise Stopped

    @staticmethod
    def order(attempt_folder: Path) -> StopReason | None:
        """Why the service asked; None when it left no order."""
        try:
            return StopOrder.model_validate_json((attempt_folder / STOP_FILE).read_bytes()).reason
        except FileNotFoundError:
            return None

    @classmethod
    def reason(cls, attempt_folder: Path) -> StopReason:
        """Why the service asked; ``cancelled`` when it left no order (a person sent the signal)."""
        return cls.order(attempt_folder) or "cancelled"


def _listen_no_more() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
