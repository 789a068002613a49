"""From samples to batches on the device: the order, and the cut into micro-batches."""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer_core.data.samples import Indices
from trainer_core.loop.cut import parts_of
from trainer_core.loop.joining import Joining, Piece, have_rows
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.sources import Source
from trainer_core.loop.trees import count_samples, map_tensors


@dataclass(frozen=True)
class Order:
    """In which order training takes its samples: a function of (seed, epoch) and of nothing else, so that neither the
    place of a resume, nor the number of loader processes or ranks, nor the micro-batch changes it."""

    samples: int
    batch_size: int
    seed: int
    shuffle: bool

    def epoch(self, epoch: int) -> Indices:
        """Every sample once."""
        if not self.shuffle:
            return np.arange(self.samples)
        generator = np.random.Generator(np.random.PCG64((self.seed, epoch)))
        return generator.permutation(self.samples)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, to tell whether a run goes on with the same batches."""
        return asdict(self)

    def batches(self, epoch: int, start: int, stop: int) -> list[Indices]:
        """Optimizer batches ``start`` to ``stop`` (excluded) of an epoch, each as sample indices over all ranks."""
        order = self.epoch(epoch)
        return [order[step * self.batch_size : (step + 1) * self.batch_size] for step in range(start, stop)]


class MicroBatch(NamedTuple):
    """What one forward pass takes. ``last``: gradients are complete after it. Not ``counted``: this rank got no sample of
    the batch and takes part in the exchange of gradients with one whose loss weighs nothing."""

    inputs: Any
    targets: Any
    last: bool
    counted: bool


class OptimizerBatch(NamedTuple):
    """One rank's share of what one optimizer step learns from. ``samples`` is the number over all ranks, and
    ``largest_share`` that of the rank with the most, which takes ``largest_share / size`` passes: so does every other, for
    ranks may wait for each other in each pass. 0: there are as many samples as targets. Samples that a model file's collate
    has joined have no rows to be cut by: ``joining``, where there may be such, joins fewer of them."""

    samples: int
    inputs: Any
    targets: Any
    counted: bool
    largest_share: int = 0
    joining: Joining | None = None

    def micro_batches(self, size: int, device: torch.device) -> Iterator[MicroBatch]:
        """The share in slices of at most ``size`` samples along the first axis, or joined so many at once, on ``device``."""
        total = count_samples(self.targets)
        most = self.largest_share or total
        if most <= size:
            yield MicroBatch(moved(self.inputs, device), moved(self.targets, device), last=True, counted=self.counted)
            return
        if self.joining is not None and not have_rows(self.inputs, self.targets, len(self.joining.indices)):
            yield from _joined(self.joining.pieces(size), math.ceil(most / size), self.counted, device)
            return
        parts = parts_of(total, most, size)
        for number, (part, spare) in enumerate(parts):
            inputs, targets = (
                moved(map_tensors(lambda tensor: tensor[part], side), device)  # noqa: B023
                for side in (self.inputs, self.targets)
            )
            yield MicroBatch(inputs, targets, last=number == len(parts) - 1, counted=self.counted and not spare)

    def first(self, most: int) -> "OptimizerBatch":
        """Its first samples, at most so many, as a batch of this rank alone."""
        inputs, targets, joining = self.inputs, self.targets, self.joining
        if joining is not None and not have_rows(inputs, targets, len(joining.indices)):
            joining = joining.first(most)
            total = len(joining.indices)
            return OptimizerBatch(total, *joining.whole(), counted=True, largest_share=total, joining=joining)
        if count_samples(targets) > most:
            inputs, targets = (map_tensors(lambda tensor: tensor[:most], side) for side in (inputs, targets))
        total = count_samples(targets)
        return OptimizerBatch(total, inputs, targets, counted=True, largest_share=total)


class JoinedBatch(NamedTuple):
    """An optimizer batch whose share comes joined ``size`` samples at once."""

    samples: int
    pieces: Sequence[Piece]
    size: int
    counted: bool
    largest_share: int
    joining: Joining

    def first(self, most: int) -> OptimizerBatch:
        """Its first samples, at most so many, as a batch of this rank alone."""
        return OptimizerBatch(
            self.samples, *self.joining.whole(), self.counted, self.largest_share, self.joining
        ).first(most)

    def micro_batches(self, size: int, device: torch.device) -> Iterator[MicroBatch]:
        """The share, at most ``size`` samples at once, on ``device``."""
        wanted = min(size, self.largest_share)
        pieces = self.pieces if wanted == self.size else self.joining.pieces(wanted)
        yield from _joined(pieces, math.ceil(self.largest_share / wanted), self.counted, device)


def _joined(pieces: Iterable[Piece], count: int, counted: bool, device: torch.device) -> Iterator[MicroBatch]:
    for number, (inputs, targets, spare) in enumerate(pieces, start=1):
        yield MicroBatch(moved(inputs, device), moved(targets, device), number == count, counted and not spare)


def moved(side: Any, device: torch.device) -> Any:
    """``side`` on ``device``."""
    if isinstance(side, Tensor):
        return side if side.device == device else side.to(device, non_blocking=True)
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=True), side)


class _Share(NamedTuple):
    """What a rank takes of an optimizer batch of ``samples``, of which the ``largest`` share is another's."""

    samples: int
    largest: int
    taken: Indices
    counted: bool


class Batches:
    """The optimizer batches of one rank, epoch by epoch."""

    def __init__(
        self, source: Source, order: Order, ranks: Ranks, batch_size: int, micro_size: int | None = None
    ) -> None:
        """``micro_size``: samples of a pass; absent: the rank's share of ``batch_size``."""
        self.order = order
        self.micro_size = micro_size or math.ceil(batch_size / ranks.world)
        self._source = source
        self._ranks = ranks
        self._joined: int | None = None

    def passes(self, size: int) -> int:
        """Passes of a rank over a full optimizer batch, ``size`` samples at a time."""
        return math.ceil(math.ceil(min(self.order.batch_size, self.order.samples) / self._ranks.world) / size)

    def pass_sizes(self, size: int) -> frozenset[int]:
        """Samples in the passes of this rank over a full optimizer batch, ``size`` samples at a time."""
        whole = np.arange(min(self.order.batch_size, self.order.samples))
        share, largest = max(1, len(self._ranks.share(whole))), math.ceil(len(whole) / self._ranks.world)
        return frozenset(part.stop - part.start for part, _ in parts_of(share, largest, min(size, largest)))

    def of_epoch(self, epoch: int, start: int, stop: int) -> Generator[OptimizerBatch | JoinedBatch, None, None]:
        """Batches ``start`` to ``stop`` (excluded) of the epoch with index ``epoch``. From the one on that had to be joined again,
        fewer samples at once, they come joined so."""
        while start < stop:
            size = self._joined
            with closing(
                self._fetched(epoch, start, stop) if size is None else self._pieces(epoch, start, stop, size)
            ) as batches:
                for batch in batches:
                    yield batch
                    start += 1
                    if self._joined != size:
                        break

    def _fetched(self, epoch: int, start: int, stop: int) -> Generator[OptimizerBatch, None, None]:
        shares = self._shares(epoch, start, stop)
        fetched = self._source.fetch([share.taken for share in shares], epoch)
        for share, (inputs, targets) in zip(shares, fetched, strict=True):
            joining = self._joining(share, epoch) if self._source.joins else None
            yield OptimizerBatch(share.samples, inputs, targets, share.counted, share.largest, joining)

    def _pieces(self, epoch: int, start: int, stop: int, size: int) -> Generator[JoinedBatch, None, None]:
        shares = self._shares(epoch, start, stop)
        cuts = [parts_of(len(share.taken), share.largest, size) for share in shares]
        parts = [share.taken[part] for share, cut in zip(shares, cuts, strict=True) for part, _ in cut]
        fetched = iter(self._source.fetch(parts, epoch))
        for share, cut in zip(shares, cuts, strict=True):
            pieces = [Piece(*next(fetched), spare) for _, spare in cut]
            joining = self._joining(share, epoch)
            yield JoinedBatch(share.samples, pieces, min(size, share.largest), share.counted, share.largest, joining)

    def _shares(self, epoch: int, start: int, stop: int) -> list[_Share]:
        """This rank's; one that got no sample of a batch takes its first, uncounted."""
        whole = self.order.batches(epoch, start, stop)
        owned = [(indices, self._ranks.share(indices)) for indices in whole]
        return [
            _Share(
                len(indices),
                math.ceil(len(indices) / self._ranks.world),
                own if len(own) else indices[:1],
                len(own) > 0,
            )
            for indices, own in owned
        ]

    def _joining(self, share: _Share, epoch: int) -> Joining:
        return Joining(self._source, share.taken, epoch, share.largest, self._note)

    def _note(self, size: int) -> None:
        self._joined = size

    def close(self) -> None:
        """End the loader's processes."""
        self._source.close()
