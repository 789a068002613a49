"""The latest values of a figure, and how far a new one stands out."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median

# Of normally distributed values, by how much the median absolute deviation has to be multiplied to be their standard
# deviation (Rousseeuw and Croux, Alternatives to the Median Absolute Deviation, 1993).
_TO_DEVIATION = 1.4826


class Window:
    """The latest ``size`` values at most."""

    def __init__(self, size: int) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def full(self) -> bool:
        """Whether there are ``size`` values."""
        return len(self._values) == self._values.maxlen

    @property
    def mean(self) -> float:
        """The moving average. Summed anew each time: a running sum would never forget the rounding of one huge value."""
        return sum(self._values) / len(self._values)

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self._values)

    def add(self, *values: float) -> None:
        """Add the newest, in order; the oldest go when there are more than ``size``."""
        self._values.extend(values)

    def state(self) -> list[float]:
        """What a checkpoint keeps."""
        return list(self._values)

    def restore(self, state: Iterable[float]) -> None:
        """Go on from ``state``."""
        self._values.clear()
        self._values.extend(state)


def score(value: float, values: Sequence[float], least: float) -> float:
    """Robust z-score of ``value`` among ``values``: its distance from their median in deviations, by the median absolute
    deviation.

    Positive values are compared by their logarithms: losses and norms spread by factors, and far more so near zero.
    A deviation counts as ``least`` at least (a share of the median, or of one in logarithms), so that a figure that hardly
    moves does not make an event of every change.
    """
    if value > 0 and min(values) > 0:
        return _score(math.log(value), [math.log(each) for each in values], least)
    return _score(value, values, least * abs(median(values)))


def _score(value: float, values: Sequence[float], least: float) -> float:
    middle = median(values)
    deviation = max(_TO_DEVIATION * median(abs(each - middle) for each in values), least)
    return (value - middle) / deviation if deviation > 0 else math.copysign(math.inf, value - middle)
