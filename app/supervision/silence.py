"""Silence: when a worker that says nothing is taken to hang."""

from collections.abc import Callable

# Share of one processor below which a worker counts as idle.
_IDLE = 0.01

# After the last step a worker may wait for its trackers, which have a bound of their own.
_ENDING_SECONDS = 90.0


class Silence:
    """How long a worker has said nothing.

    By a ``limit`` of the request it hangs when it has passed. Without one it hangs when it has passed ``idle_limit`` and
    has used no processor time in the latest tenth of it: who computes may be in a long step, or in one long fit.
    """

    def __init__(self, limit: float | None, idle_limit: float) -> None:
        self._limit = limit
        self._idle_limit = idle_limit
        self._heard = 0
        self._since: float | None = None
        self._used: tuple[float, float] | None = None

    def hangs(self, heard: int, now: float, used: Callable[[], float], *, ending: bool = False) -> float | None:
        """Seconds of silence when that is too long, else None. ``heard``: bytes the worker has said so far; ``used``: its
        processor seconds, asked for only when it matters."""
        if self._since is None or heard != self._heard:
            self._heard, self._since, self._used = heard, now, None
            return None
        silent = now - self._since
        if self._limit is not None:
            return silent if silent >= self._limit + (_ENDING_SECONDS if ending else 0.0) else None
        return silent if silent >= self._idle_limit and self._is_idle(now, used) else None

    def _is_idle(self, now: float, used: Callable[[], float]) -> bool:
        if self._used is None:
            self._used = (now, used())
            return False
        then, before = self._used
        if now - then < self._idle_limit / 10:
            return False
        seconds = used()
        self._used = (now, seconds)
        return seconds - before < _IDLE * (now - then)
