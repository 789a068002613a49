"""Batches of the data that a program is made of and tried with."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer_core.data.samples import Samples
from trainer_core.loop.trees import as_tensors

# As many samples as a program is made of, and then is tried with.
_SIZES = (8, 5, 1, 1)


@dataclass(frozen=True)
class Trial:
    """Inputs of so many ``samples``, as the model takes them, on the CPU."""

    samples: int
    inputs: Any


def trials(samples: Samples) -> list[Trial]:
    """The first is what a program is made of. Of padded sequences the others have other lengths, by chance. Raises whatever
    a data set of the model file raises."""
    made, begin = [], 0
    for most in _SIZES:
        size = min(most, len(samples))
        # Of few samples some come again.
        indices = np.arange(begin, begin + size) % len(samples)
        inputs, _ = samples.take(indices)
        made.append(Trial(size, as_tensors(inputs)))
        begin += size
    return made
