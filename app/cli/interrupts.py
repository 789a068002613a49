"""Signals that people and shells send to a command."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """SIGTERM: the command leaves, the job goes on. Not an Exception: nothing between may swallow it."""


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C inside raises KeyboardInterrupt only at the end, so that what is inside is done or not begun.

    A second Ctrl-C is not held.
    """
    held = False

    def hold(_number: int, _frame: FrameType | None) -> None:
        nonlocal held
        if held:
            raise KeyboardInterrupt
        held = True

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


@contextmanager
def termination_raised() -> Iterator[None]:
    """SIGTERM inside raises Terminated."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
