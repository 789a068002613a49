"""From samples to batches on the device: the order, the loader, and the cut into micro-batches."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from schemas.result import Place
from trainer_core.data.samples import Arrays, Indices, Samples
from trainer_core.failure import Failure
from trainer_core.loop.ranks import Ranks

# Of a GPU's free memory, what resident data may take; the rest is for model, optimizer and activations.
_RESIDENT_SHARE = 0.4


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


class Source(Protocol):
    """Gives samples as tensors."""

    def fetch(self, parts: Sequence[Indices], epoch: int) -> Iterator[tuple[Any, Any]]:
        """(inputs, targets) of each of ``parts``, in order."""
        ...

    def close(self) -> None:
        """End what was started to fetch."""
        ...


class Resident:
    """Samples that stay on the device and are picked there: no loader, and one transfer of indices an epoch."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        inputs, targets = as_tensors(arrays)
        self._inputs: Tensor = inputs.to(device)
        self._targets: Tensor = targets.to(device)

    def fetch(self, parts: Sequence[Indices], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        if not parts:
            return
        order = torch.from_numpy(np.concatenate(parts)).to(self._inputs.device)
        for indices in torch.split(order, [len(part) for part in parts]):
            yield self._inputs[indices], self._targets[indices]

    def close(self) -> None:
        """Nothing was started."""


class Streamed:
    """Samples that are read when they are needed, in ``workers`` processes ahead of the loop."""

    def __init__(self, samples: Samples, workers: int, seed: int, pin: bool) -> None:
        self._parts = _Parts()
        self._seed = seed
        # A generator of its own: the loader draws a seed for its workers whenever it starts an epoch, and must not draw it
        # from the generator of dropout, or a resume in mid-epoch would change the masks.
        self._generator = torch.Generator()
        self._loader: DataLoader | None = DataLoader(
            _Taken(samples),
            batch_sampler=self._parts,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
            collate_fn=as_tensors,
            generator=self._generator,
        )

    def fetch(self, parts: Sequence[Indices], epoch: int) -> Iterator[tuple[Any, Any]]:
        assert self._loader is not None
        self._parts.parts = parts
        self._generator.manual_seed(self._seed + epoch)
        with telling_lost_loaders():
            for part in self._loader:
                if isinstance(part, Failure):
                    raise part
                yield part

    def close(self) -> None:
        self._loader = None


@contextmanager
def telling_lost_loaders() -> Iterator[None]:
    """A loader process that dies without a word (a crash in C, the kernel's killer) is a Failure ``worker_lost``."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise Failure(
            "worker_lost",
            "A loader process died while it read samples.",
            next_move="Set dataConfig.numWorkers to 0 to see where the data set crashes; give it fewer if memory ran out.",
            place=Place(pointer="/dataConfig/numWorkers"),
            detail=str(error),
        ) from error


class _Taken(Dataset):
    """The samples as torch's loader asks for them: a whole part at once."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitems__(self, indices: Indices) -> tuple[Any, Any] | Failure:
        # Raised in a loader's process, a failure would come back as a RuntimeError of its text.
        try:
            return self._samples.take(indices)
        except Failure as failure:
            return failure


class _Parts(Sampler):
    """The parts of the epoch to come, in our order."""

    def __init__(self) -> None:
        self.parts: Sequence[Indices] = ()

    def __iter__(self) -> Iterator[Indices]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes. ``last``: gradients are complete after it. Not ``counted``: this rank got no sample of
    the batch and takes part in the exchange of gradients with one whose loss weighs nothing."""

    inputs: Any
    targets: Any
    last: bool
    counted: bool


@dataclass(frozen=True)
class OptimizerBatch:
    """One rank's share of what one optimizer step learns from. ``samples`` is the number over all ranks."""

    samples: int
    inputs: Any
    targets: Any
    counted: bool

    def micro_batches(self, size: int, device: torch.device) -> Iterator[MicroBatch]:
        """The share in slices of ``size`` samples along the first axis, on ``device``."""
        total = _length(self.targets)
        if total > size:
            self._check_axis(total)
        for start in range(0, total, size):
            inputs, targets = (
                map_tensors(lambda tensor: tensor[start : start + size].to(device, non_blocking=True), side)  # noqa: B023
                for side in (self.inputs, self.targets)
            )
            yield MicroBatch(inputs, targets, last=start + size >= total, counted=self.counted)

    def _check_axis(self, total: int) -> None:
        """Raise ``data_invalid`` where the samples do not stand along the first axis of every tensor: slices would mix them."""
        lengths: list[int] = []
        map_tensors(lambda tensor: lengths.append(len(tensor) if tensor.ndim else 0), (self.inputs, self.targets))
        if any(length != total for length in lengths):
            raise Failure(
                "data_invalid",
                f"A batch cannot be cut into micro-batches: {total} targets, and tensors of {sorted(set(lengths))} rows.",
                next_move="Let collate put samples along the first axis of every tensor, or set gradientAccumulation to 1.",
                place=Place(pointer="/trainingConfig/gradientAccumulation"),
            )


class Batches:
    """The optimizer batches of one rank, epoch by epoch."""

    def __init__(self, source: Source, order: Order, ranks: Ranks, batch_size: int) -> None:
        self.order = order
        self.micro_size = math.ceil(batch_size / ranks.world)
        self._source = source
        self._ranks = ranks

    def of_epoch(self, epoch: int, start: int, stop: int) -> Iterator[OptimizerBatch]:
        """Batches ``start`` to ``stop`` (excluded) of the epoch with index ``epoch``."""
        whole = self.order.batches(epoch, start, stop)
        shares = [self._ranks.share(indices) for indices in whole]
        parts = [share if len(share) else indices[:1] for share, indices in zip(shares, whole, strict=True)]
        fetched = self._source.fetch(parts, epoch)
        for indices, share, (inputs, targets) in zip(whole, shares, fetched, strict=True):
            yield OptimizerBatch(len(indices), inputs, targets, counted=len(share) > 0)

    def close(self) -> None:
        """End the loader's processes."""
        self._source.close()


def build_source(samples: Samples, device: torch.device, workers: int, seed: int) -> Source:
    """Samples in memory stay on the device when they fit; all others come through a loader."""
    if samples.arrays is None:
        return Streamed(samples, workers, seed, pin=device.type == "cuda")
    size = sum(array.nbytes for array in samples.arrays)
    return Resident(samples.arrays, device if _fits(size, device) else torch.device("cpu"))


def _fits(size: int, device: torch.device) -> bool:
    return device.type != "cuda" or size <= _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def call(network: nn.Module, inputs: Any) -> Any:
    """The output of ``network``: a dict of inputs is passed by name, a tuple by position."""
    if isinstance(inputs, Mapping):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple | list) else network(inputs)


def map_tensors(function: Any, tree: Any) -> Any:
    """``tree`` (tensors in tuples, lists and dicts) with ``function`` applied to each tensor; all else stays."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tensors(function, item) for key, item in tree.items()}
    if isinstance(tree, tuple | list):
        return _rebuilt(tree, [map_tensors(function, item) for item in tree])
    return tree


def as_tensors(tree: Any) -> Any:
    """``tree`` with each array as the tensor of the same memory (a copy where the array may not be written)."""
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(tree if tree.flags.writeable else tree.copy())
    if isinstance(tree, Mapping):
        return {key: as_tensors(item) for key, item in tree.items()}
    if isinstance(tree, tuple | list):
        return _rebuilt(tree, [as_tensors(item) for item in tree])
    return tree


def _rebuilt(sequence: Sequence[Any], items: list[Any]) -> Sequence[Any]:
    """``items`` as a named tuple where ``sequence`` is one, else as a plain list or tuple."""
    if isinstance(sequence, list):
        return items
    make = getattr(type(sequence), "_make", tuple)
    made: Sequence[Any] = make(items)
    return made


def shapes(tree: Any) -> str:
    """The shapes in ``tree``, for a message: ``[32, 20]``, ``{ids: [32, 16], mask: [32, 16]}``."""
    if isinstance(tree, Tensor):
        return str(list(tree.shape))
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{key}: {shapes(item)}" for key, item in tree.items()) + "}"
    if isinstance(tree, tuple | list):
        return "(" + ", ".join(map(shapes, tree)) + ")"
    return type(tree).__name__


def _length(tree: Any) -> int:
    """Samples in ``tree``: the length of the first axis of its first tensor."""
    if isinstance(tree, Tensor):
        return len(tree) if tree.ndim else 1
    items = (
        list(tree.values() if isinstance(tree, Mapping) else tree) if isinstance(tree, Mapping | list | tuple) else []
    )
    if not items:
        message = f"Targets of type {type(tree).__name__} cannot be counted: a tensor was expected."
        next_move = "Let the data set's items, or collate, give the targets as a tensor."
        raise Failure("data_invalid", message, next_move=next_move)
    return _length(items[0])
