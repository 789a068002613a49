"""Where a loss falls fastest while the learning rate rises."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# How far the loss has to fall to be a ground for anything: so many standard errors, and this share of where it began.
_ERRORS = 4.0
_SHARE = 0.01


@dataclass(frozen=True)
class Descent:
    """``index`` is the place of the steepest descent, None when the loss did not fall; ``words`` say what it did."""

    index: int | None
    words: str


def steepest(losses: Sequence[float], planned: int) -> Descent:
    """The steepest descent among ``losses``, of as many as were ``planned`` or fewer, at equal distances.

    Slopes are those of straight lines through a tenth of the planned points around each one, so nothing lags behind as an
    exponential mean does; only the points before the lowest are looked at: a loss that comes down from a peak is none to
    learn by. There is none where the loss falls by less than its noise explains (four standard errors of the difference of
    two such means, the noise judged by the differences of neighbours), or by less than a hundredth.
    """
    half = max(2, planned // 20)
    width = 2 * half + 1
    y = np.asarray(losses, dtype=np.float64)
    if len(y) < width + half:
        return Descent(None, f"the loss left all bounds after {len(y)} steps: the first rates tried are too high")
    x = np.arange(-half, half + 1, dtype=np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(y, width)
    levels, slopes = windows.mean(axis=1), windows @ x / (x @ x)
    lowest = int(levels.argmin())
    fall = float(levels[0] - levels[lowest])
    noise = 1.4826 * float(np.median(np.abs(np.diff(y) - np.median(np.diff(y))))) / math.sqrt(2)
    needed = max(_ERRORS * noise * math.sqrt(2 / width), _SHARE * abs(float(levels[0])))
    from_to = f"from {levels[0]:.4g} to {levels[lowest]:.4g}"
    if fall <= needed or float(slopes[: lowest + 1].min()) >= 0:
        return Descent(None, f"the loss did not fall beyond its noise ({from_to}; {needed:.2g} would be needed)")
    return Descent(int(slopes[: lowest + 1].argmin()) + half, f"the loss fell {from_to}")
