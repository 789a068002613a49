"""From samples to batches on the device: the order, and the cut into micro-batches."""

import math
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from schemas.result import Place
from trainer_core.data.samples import Indices
from trainer_core.failure import Failure
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.sources import Source
from trainer_core.loop.trees import count_samples, leaves, map_tensors


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
    ranks may wait for each other in each pass. 0: there are as many samples as targets. There may be more targets than
    samples, as where a model file's collate joins graphs; such a share is never cut."""

    samples: int
    inputs: Any
    targets: Any
    counted: bool
    largest_share: int = 0

    def micro_batches(self, size: int, device: torch.device) -> Iterator[MicroBatch]:
        """The share in slices of at most ``size`` samples along the first axis, on ``device``."""
        total = count_samples(self.targets)
        most = self.largest_share or total
        if most <= size:
            yield MicroBatch(_moved(self.inputs, device), _moved(self.targets, device), last=True, counted=self.counted)
            return
        self._check_axis(total)
        parts = _parts(total, most, size)
        for number, (part, spare) in enumerate(parts):
            inputs, targets = (
                _moved(map_tensors(lambda tensor: tensor[part], side), device)  # noqa: B023
                for side in (self.inputs, self.targets)
            )
            yield MicroBatch(inputs, targets, last=number == len(parts) - 1, counted=self.counted and not spare)

    def _check_axis(self, total: int) -> None:
        """Raise ``data_invalid`` where the samples do not stand along the first axis of every tensor: slices would mix them."""
        tensors = [leaf for leaf in leaves((self.inputs, self.targets)) if isinstance(leaf, Tensor)]
        lengths = [len(tensor) if tensor.ndim else 0 for tensor in tensors]
        joined = 0 < self.largest_share < total
        if joined or any(length != total for length in lengths):
            samples = f" of {self.largest_share} samples" if joined else ""
            raise Failure(
                "data_invalid",
                f"A batch cannot be cut into micro-batches: {total} targets{samples}, and tensors of {sorted(set(lengths))} rows.",
                next_move="Let collate put samples along the first axis of every tensor, or set gradientAccumulation to 1.",
                place=Place(pointer="/trainingConfig/gradientAccumulation"),
            )


def _parts(total: int, most: int, size: int) -> list[tuple[slice, bool]]:
    """What each pass takes of a share of ``total`` samples where the largest has ``most``, ``size`` to a pass, and whether it
    is a spare pass."""
    passes = math.ceil(most / size)
    # A share that is smaller by one and fills fewer passes leaves its first a sample short; one that has not enough
    # samples for all of them takes its last one again, uncounted.
    short = int(passes * size - total >= size)
    bounds = [(max(0, number * size - short), min(total, (number + 1) * size - short)) for number in range(passes)]
    return [(slice(start, stop), False) if start < stop else (slice(total - 1, total), True) for start, stop in bounds]


def _moved(side: Any, device: torch.device) -> Any:
    """``side`` on ``device``."""
    if isinstance(side, Tensor):
        return side if side.device == device else side.to(device, non_blocking=True)
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=True), side)


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

    def passes(self, size: int) -> int:
        """Passes of a rank over a full optimizer batch, ``size`` samples at a time."""
        return math.ceil(math.ceil(min(self.order.batch_size, self.order.samples) / self._ranks.world) / size)

    def pass_sizes(self, size: int) -> frozenset[int]:
        """Samples in the passes of this rank over a full optimizer batch, ``size`` samples at a time."""
        whole = np.arange(min(self.order.batch_size, self.order.samples))
        share, largest = max(1, len(self._ranks.share(whole))), math.ceil(len(whole) / self._ranks.world)
        return frozenset(part.stop - part.start for part, _ in _parts(share, largest, min(size, largest)))

    def of_epoch(self, epoch: int, start: int, stop: int) -> Generator[OptimizerBatch, None, None]:
        """Batches ``start`` to ``stop`` (excluded) of the epoch with index ``epoch``."""
        whole = self.order.batches(epoch, start, stop)
        shares = [self._ranks.share(indices) for indices in whole]
        parts = [share if len(share) else indices[:1] for share, indices in zip(shares, whole, strict=True)]
        fetched = self._source.fetch(parts, epoch)
        for indices, share, (inputs, targets) in zip(whole, shares, fetched, strict=True):
            largest = math.ceil(len(indices) / self._ranks.world)
            yield OptimizerBatch(len(indices), inputs, targets, counted=len(share) > 0, largest_share=largest)

    def close(self) -> None:
        """End the loader's processes."""
        self._source.close()
