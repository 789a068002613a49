"""Which samples of a share go through the model at once."""

import math


def parts_of(total: int, most: int, size: int) -> list[tuple[slice, bool]]:
    """What each pass takes of a share of ``total`` samples where the largest has ``most``, ``size`` to a pass, and whether it
    is a spare pass."""
    passes = math.ceil(most / size)
    # A share that is smaller by one and fills fewer passes leaves its first a sample short; one that has not enough
    # samples for all of them takes its last one again, uncounted.
    short = int(passes * size - total >= size)
    bounds = [(max(0, number * size - short), min(total, (number + 1) * size - short)) for number in range(passes)]
    return [(slice(start, stop), False) if start < stop else (slice(total - 1, total), True) for start, stop in bounds]
