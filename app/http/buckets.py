"""Rates: so many a minute for each of many, in bounded memory."""

from collections import OrderedDict

_MINUTE = 60.0


class Rates:
    """A bucket for each key: it holds a minute's worth, and fills again evenly. (The generic cell rate algorithm: of each
    bucket one number is kept, the time at which it will be full.)

    At most ``most`` keys are remembered; the one that was not seen for longest is forgotten first, and begins anew.
    """

    def __init__(self, per_minute: int, most: int) -> None:
        assert per_minute > 0
        self._interval = _MINUTE / per_minute
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """0 when ``key`` may, which is then counted; else the seconds after which it may. ``now`` never goes back."""
        full_at = max(self._full_at.get(key, now), now)
        wait = full_at + self._interval - now - _MINUTE
        # Rounding must not refuse the last of a full bucket.
        if wait > self._interval / 1000:
            return wait
        self._full_at[key] = full_at + self._interval
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return 0.0
