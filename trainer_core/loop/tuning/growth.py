"""The largest size that fits: doubled until it does not, then halved in between."""

from collections.abc import Callable


def largest_fitting(fits: Callable[[int], bool], start: int, most: int) -> int | None:
    """The largest number of 1 to ``most`` that ``fits``, to a sixteenth of it; None when 1 does not. Asks for ``start`` first,
    for each number once, and for few."""
    low, high, size = 0, most + 1, min(start, most)
    while low < most:
        if fits(size):
            low = size
        else:
            high = size
        if high == 1:
            return None
        if high <= most and high - low <= max(1, low // 16):
            break
        between = (low + high) // 2 if low else max(1, high // 2)
        size = min(2 * low, most) if high > most else between
    return low


def evenly(size: int, share: int) -> int:
    """The smallest size by which ``share`` samples are cut into as many passes as by ``size``."""
    passes = -(-share // size)
    return -(-share // passes)
