"""Where samples come from as tensors: those that stay on the device, and those that loader processes read ahead."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from schemas.result import Place
from trainer_core.data.samples import Arrays, Indices, Samples
from trainer_core.failure import Failure
from trainer_core.loop.trees import as_tensors

# Of a GPU's free memory, what resident data may take; the rest is for model, optimizer and activations.
_RESIDENT_SHARE = 0.4


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


def build_source(samples: Samples, device: torch.device, workers: int, seed: int) -> Source:
    """Samples in memory stay on the device when they fit; all others come through a loader."""
    if samples.arrays is None:
        return Streamed(samples, workers, seed, pin=device.type == "cuda")
    size = sum(array.nbytes for array in samples.arrays)
    return Resident(samples.arrays, device if _fits(size, device) else torch.device("cpu"))


def _fits(size: int, device: torch.device) -> bool:
    return device.type != "cuda" or size <= _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
