"""What a run learns from: samples that are taken by index, and what is known about them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.effects import Idle
from schemas.events import Alert, DataLoaded
from schemas.losses import Task

Indices = NDArray[np.int64]
# One array, or several by the names (or in the order) in which the model takes them.
Inputs = NDArray | dict[str, NDArray] | tuple[NDArray, ...]
Arrays = tuple[Inputs, NDArray]


def each_input(function: Callable[[NDArray], Any], inputs: Inputs) -> Any:
    """``function`` of the array, or of each."""
    if isinstance(inputs, dict):
        return {name: function(array) for name, array in inputs.items()}
    return tuple(map(function, inputs)) if isinstance(inputs, tuple) else function(inputs)


class Samples(Protocol):
    """Samples by index. A pure function of the index, and inside ``drawing`` of seed and epoch as well: taking one twice, or
    elsewhere, gives the same.

    Inputs are float32, or int64 for token ids, with the samples along the first axis, one array or several; targets are int64 class
    numbers for classification, float32 for binary and regression. A data set of the model file gives what its
    ``collate`` returns (usually torch tensors).
    """

    def __len__(self) -> int: ...

    def take(self, indices: Indices) -> tuple[Any, Any]:
        """Inputs and targets of the samples at ``indices``, in this order."""
        ...

    @property
    def arrays(self) -> Arrays | None:
        """All inputs and targets when they lie in memory, else None."""
        ...


@dataclass(frozen=True)
class ArraySamples:
    """Samples that lie in memory."""

    inputs: Inputs
    targets: NDArray

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: Indices) -> Arrays:
        """Copies of the rows at ``indices``."""
        return each_input(lambda array: array[indices], self.inputs), self.targets[indices]

    @property
    def arrays(self) -> Arrays:
        """The arrays themselves, not copies."""
        return self.inputs, self.targets


@dataclass(frozen=True)
class Part:
    """Some of other samples: one side of a split."""

    whole: Samples
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Indices) -> tuple[Any, Any]:
        """Samples at ``indices`` of this part."""
        return self.whole.take(self.indices[indices])

    @property
    def arrays(self) -> None:
        """A part is taken from samples that are not in memory."""
        return None


@dataclass(frozen=True)
class Data:
    """Training and validation samples, and what a caller, or an inference later, must know about them.

    ``classes`` names class number 0, 1 ... (None for regression, and where nobody knows); ``profile`` (JSON) is for
    people: shapes, types, class counts; ``preprocessing`` (JSON) is what repeats the transform on a new sample; ``idle`` are
    settings that reading these very data left without effect.
    """

    train: Samples
    validation: Samples | None
    task: Task
    classes: tuple[str, ...] | None
    format: str
    profile: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    warnings: list[Alert] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)

    def described(self, **further: Any) -> DataLoaded:
        """What an engine says of them; ``further`` stands in the profile."""
        return DataLoaded(
            format=self.format,
            task=self.task,
            train_samples=len(self.train),
            val_samples=0 if self.validation is None else len(self.validation),
            classes=None if self.classes is None else list(self.classes),
            profile=self.profile | further,
        )
