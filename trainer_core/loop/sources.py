"""Where samples come from as tensors: those that stay on the device, and those that loader processes read ahead."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from trainer_core.data.draws import drawing
from trainer_core.data.samples import Arrays, Indices, Samples
from trainer_core.failure import Failure
from trainer_core.loop.trees import as_tensors, leaves, with_items
from trainer_core.lost_loader import lost, lost_loader

# Of a GPU's free memory, what resident data may take; the rest is for model, optimizer and activations.
_RESIDENT_SHARE = 0.4
# Picked at once of resident samples: enough that a small batch is a view, little enough to stay in a core's cache.
_PICKED_BYTES = 2**18


class Source(Protocol):
    """Gives samples as tensors. ``joins``: what it gives of several may not be rows of tensors."""

    joins: bool

    def fetch(self, parts: Sequence[Indices], epoch: int) -> Iterator[tuple[Any, Any]]:
        """(inputs, targets) of each of ``parts``, in order."""
        ...

    def take(self, part: Indices, epoch: int) -> tuple[Any, Any]:
        """(inputs, targets) of ``part``, at once."""
        ...

    def close(self) -> None:
        """End what was started to fetch."""
        ...


class Resident:
    """Samples that stay on the device and are picked there: no loader, one transfer of indices an epoch, and one pick for
    as many parts as fit ``_PICKED_BYTES``, which are then views of it."""

    joins = False

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        inputs, targets = as_tensors(arrays)
        self._inputs = inputs
        self._tensors: list[Tensor] = [tensor.to(device) for tensor in leaves((inputs, targets))]

    def fetch(self, parts: Sequence[Indices], epoch: int) -> Iterator[tuple[Any, Any]]:
        if not parts:
            return
        order = torch.from_numpy(np.concatenate(parts)).to(self._tensors[0].device)
        sizes = [len(part) for part in parts]
        together = self._together(sizes)
        blocks = [sizes[first : first + together] for first in range(0, len(sizes), together)]
        for indices, block in zip(torch.split(order, [sum(block) for block in blocks]), blocks, strict=True):
            # Not split: its views may not be written to by a model that works in place.
            picked = [torch.unsafe_split_with_sizes(tensor.index_select(0, indices), block) for tensor in self._tensors]
            for part in zip(*picked, strict=True):
                yield self._whole(part)

    def take(self, part: Indices, epoch: int) -> tuple[Any, Tensor]:
        return next(self.fetch([part], epoch))

    def _whole(self, part: tuple[Tensor, ...]) -> tuple[Any, Tensor]:
        """Inputs in the form that they came in, and targets."""
        *inputs, targets = part
        if isinstance(self._inputs, Tensor):
            return inputs[0], targets
        return with_items(self._inputs, inputs), targets

    def _together(self, sizes: list[int]) -> int:
        """How many parts of these ``sizes`` are picked at once: one where not every part would begin as memory of its own
        does, at a multiple of 64 bytes, for the sums of a matrix product may depend on that."""
        strides = [sizes[0] * side[:1].nbytes for side in self._tensors]
        if any(size != sizes[0] for size in sizes[:-1]) or any(stride % 64 for stride in strides):
            return 1
        return max(1, _PICKED_BYTES // max(1, sum(strides)))

    def close(self) -> None:
        """Nothing was started."""


class Streamed:
    """Samples that are read when they are needed, in ``workers`` processes ahead of the loop."""

    joins = True

    def __init__(self, samples: Samples, workers: int, seed: int, pin: bool) -> None:
        self._samples = samples
        self._parts = _Parts()
        self._seed = seed
        # A generator of its own: the loader draws a seed for its workers whenever it starts an epoch, and must not draw it
        # from the generator of dropout, or a resume in mid-epoch would change the masks.
        self._generator = torch.Generator()
        self._loader: DataLoader | None = DataLoader(
            _Taken(samples, seed),
            batch_sampler=self._parts,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
            collate_fn=as_tensors,
            generator=self._generator,
        )

    def fetch(self, parts: Sequence[Indices], epoch: int) -> Iterator[tuple[Any, Any]]:
        assert self._loader is not None
        self._parts.parts, self._parts.epoch = parts, epoch
        self._generator.manual_seed(self._seed + epoch)
        with telling_lost_loaders():
            for part in self._loader:
                if isinstance(part, Failure):
                    raise part
                yield part

    def take(self, part: Indices, epoch: int) -> tuple[Any, Any]:
        """In this process."""
        with drawing(self._seed, epoch):
            inputs, targets = as_tensors(self._samples.take(part))
        return inputs, targets

    def close(self) -> None:
        self._loader = None


@contextmanager
def telling_lost_loaders() -> Iterator[None]:
    """A loader process that dies without a word (a crash in C, the kernel's killer) is a Failure ``worker_lost``. Torch says
    so, or the socket does through which it was about to send a tensor."""
    try:
        yield
    except (ConnectionError, EOFError) as error:
        raise lost(str(error)) from error
    except RuntimeError as error:
        found = lost_loader(error)
        if found is None:
            raise
        raise found from error


class _Asked(NamedTuple):
    """A part, and the epoch that it is for: loader processes outlive epochs."""

    indices: Indices
    epoch: int


class _Taken(Dataset):
    """The samples as torch's loader asks for them: a whole part at once."""

    def __init__(self, samples: Samples, seed: int) -> None:
        self._samples = samples
        self._seed = seed

    def __len__(self) -> int:
        return len(self._samples)

    def __getitems__(self, asked: _Asked) -> tuple[Any, Any] | Failure:
        # Raised in a loader's process, a failure would come back as a RuntimeError of its text.
        try:
            with drawing(self._seed, asked.epoch):
                return self._samples.take(asked.indices)
        except Failure as failure:
            return failure


class _Parts(Sampler):
    """The parts of the epoch to come, in our order."""

    def __init__(self) -> None:
        self.parts: Sequence[Indices] = ()
        self.epoch = 0

    def __iter__(self) -> Iterator[_Asked]:
        return (_Asked(part, self.epoch) for part in self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def build_source(samples: Samples, device: torch.device, workers: int, seed: int) -> Source:
    """Samples in memory stay on the device when they fit; all others come through a loader."""
    if samples.arrays is None:
        return Streamed(samples, workers, seed, pin=device.type == "cuda")
    size = sum(array.nbytes for array in leaves(samples.arrays))
    return Resident(samples.arrays, device if _fits(size, device) else torch.device("cpu"))


def _fits(size: int, device: torch.device) -> bool:
    return device.type != "cuda" or size <= _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
