"""What is odd about data that a model does not fit: then no other width of the model is the mend."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def channels_last(inputs: Any) -> bool:
    """Whether these are images as most libraries but torch have them: (N, H, W, C)."""
    return isinstance(inputs, Tensor) and inputs.ndim == 4 and inputs.shape[3] in (1, 3, 4) and inputs.shape[1] > 4


def lowest_class(targets: NDArray | None) -> int:
    """The lowest class number among the targets; 0 where nobody knows."""
    return 0 if targets is None else int(targets[targets >= 0].min())


def odd_mark(targets: NDArray | None, scores: int) -> int | None:
    """The one number among the targets of sequences or masks that has no score, far from those that have: 255 in many a mask."""
    if targets is None or targets.ndim < 2:
        return None
    beyond = np.unique(targets[targets >= scores])
    return int(beyond[0]) if len(beyond) == 1 and beyond[0] > scores else None
