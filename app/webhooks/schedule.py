"""When a delivery that was not taken is tried again: 11 attempts, over about a day."""

import random

MOST_ATTEMPTS = 11
_FACTOR = 4
_LONGEST_SECONDS = 6 * 3600.0
_JITTER = 0.2


def seconds_to_next(attempts: int, first: float, asked: float | None = None) -> float | None:
    """Seconds to wait after ``attempts`` in vain: 5, 20, 80 ... to 6 hours when ``first`` is 5, each a fifth more or less so
    that what failed together does not come back together; at least what the receiver ``asked`` for. None: give up."""
    if attempts >= MOST_ATTEMPTS:
        return None
    wait: float = min(first * _FACTOR ** (attempts - 1), _LONGEST_SECONDS) * random.uniform(1 - _JITTER, 1 + _JITTER)
    return max(wait, min(asked or 0.0, _LONGEST_SECONDS))
