"""Samples that a collate of the model file joins: graphs that become one, sequences that are packed. What it made of them has no
rows to be cut by; fewer of them at once are joined anew."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from trainer_core.data.samples import Indices
from trainer_core.loop.cut import parts_of
from trainer_core.loop.sources import Source
from trainer_core.loop.trees import count_samples, leaves


class Piece(NamedTuple):
    """Some samples of a share, as they were joined. ``spare``: they are in another piece too, and are not counted here."""

    inputs: Any
    targets: Any
    spare: bool


@dataclass(frozen=True)
class Joining:
    """Joins the samples at ``indices``, a rank's share of an optimizer batch of ``epoch``, again, fewer at once; the largest
    share has ``most``. ``note`` is told how many."""

    source: Source
    indices: Indices
    epoch: int
    most: int
    note: Callable[[int], None]

    def pieces(self, size: int) -> Iterator[Piece]:
        """The share, at most ``size`` samples to a piece, and as many pieces as the largest has."""
        self.note(size)
        for part, spare in parts_of(len(self.indices), self.most, size):
            yield Piece(*self.source.take(self.indices[part], self.epoch), spare)

    def whole(self) -> tuple[Any, Any]:
        """Inputs and targets of the share, joined as one."""
        return self.source.take(self.indices, self.epoch)

    def first(self, count: int) -> "Joining":
        """The same of the first ``count`` samples, as a share of its own."""
        indices = self.indices[:count]
        return replace(self, indices=indices, most=len(indices))


def have_rows(inputs: Any, targets: Any, samples: int) -> bool:
    """Whether each of the ``samples`` is a row, along the first axis, of every tensor of ``inputs`` and ``targets``."""
    tensors = [leaf for leaf in leaves((inputs, targets)) if isinstance(leaf, Tensor)]
    return count_samples(targets) == samples and all(tensor.ndim and len(tensor) == samples for tensor in tensors)
