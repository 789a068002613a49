"""One process, or several that train one model together: what they share, and on what they agree."""

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainer_core.data.samples import Indices

_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Totals:
    """Of some samples: sum of losses and number (or total weight) of targets, on the device."""

    loss_sum: Tensor
    count: Tensor

    @staticmethod
    def of(parts: "Sequence[Totals]") -> "Totals":
        """The sum of ``parts``, one at least, in float64 where there are several."""
        if len(parts) == 1:
            return parts[0]
        columns = ([part.loss_sum for part in parts], [part.count for part in parts])
        return Totals(*(torch.stack(column).sum(dtype=torch.float64) for column in columns))

    def nothing(self) -> "Totals":
        """What a part adds that does not count."""
        return Totals(torch.zeros_like(self.loss_sum), torch.zeros_like(self.count))


class Ranks:
    """One process. The null form: nothing is shared, and everybody agrees."""

    index = 0
    world = 1

    @property
    def first(self) -> bool:
        """Whether this rank speaks and saves."""
        return self.index == 0

    def share(self, indices: Indices) -> Indices:
        """This rank's part of ``indices``: contiguous, sizes differ by one at most, empty when there are too few."""
        return indices

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network to call: ``model``, with gradients averaged over ranks in the backward pass."""
        return model

    def accumulate(self, network: nn.Module) -> AbstractContextManager[Any]:
        """The context of a micro-batch whose gradients stay on this rank, because more follow."""
        return nullcontext()

    def total(self, totals: Totals, stop: bool) -> tuple[Totals, bool]:
        """``totals`` summed over all ranks, and whether any of them was asked to ``stop``."""
        return totals, stop

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set on any rank."""
        return flag

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Sum each tensor over all ranks, in place."""

    def gather(self, thing: Any) -> list[Any]:
        """``thing`` of every rank, by rank, on every rank. Small picklable things."""
        return [thing]

    def share_buffers(self, model: nn.Module) -> None:
        """Give every rank the first rank's buffers (running statistics), which are the ones that are saved."""

    def close(self) -> None:
        """Leave the group."""


class Group(Ranks):
    """This process is one of several: torch.distributed, NCCL between GPUs, gloo between CPUs."""

    @staticmethod
    def join(devices: list[str]) -> "Group":
        """Join the group that the launcher's environment names, with this rank's device of ``devices``. Several processes
        on CPUs share the cores among them."""
        device = torch.device(devices[int(os.environ["RANK"])])
        if device.type == "cuda":
            torch.cuda.set_device(device)
        else:
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // len(devices)))
        return Group(device)

    def __init__(self, device: torch.device) -> None:
        self.device = device
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
        self.index = dist.get_rank()
        self.world = dist.get_world_size()
        self._vote = Vote(device)

    def share(self, indices: Indices) -> Indices:
        return np.array_split(indices, self.world)[self.index]

    def wrap(self, model: nn.Module) -> nn.Module:
        # Without the search for unused parameters a model with a branch that it does not take trains on one device and
        # hangs on two.
        device_ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=device_ids, find_unused_parameters=True)

    def accumulate(self, network: nn.Module) -> AbstractContextManager[Any]:
        assert isinstance(network, nn.parallel.DistributedDataParallel)
        return network.no_sync()

    def total(self, totals: Totals, stop: bool) -> tuple[Totals, bool]:
        together = torch.stack(
            [totals.loss_sum, totals.count, torch.full((), float(stop), dtype=torch.float64, device=self.device)]
        )
        dist.all_reduce(together)
        return Totals(together[0], together[1]), self._vote.read(together[2])

    def any(self, flag: bool) -> bool:
        votes = torch.full((), float(flag), device=self.device)
        dist.all_reduce(votes)
        return bool(votes.item())

    def sum(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            dist.all_reduce(tensor)

    def gather(self, thing: Any) -> list[Any]:
        things: list[Any] = [None] * self.world
        dist.all_gather_object(things, thing)
        return things

    def share_buffers(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)

    def close(self) -> None:
        dist.destroy_process_group()


def is_lost_peer(error: BaseException) -> bool:
    """Whether ``error`` says that another process of the group is gone: torch's own errors, and gloo's plain ones."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


class Vote:
    """A flag that all ranks have summed on the device, read by the host without stalling it.

    On a CPU it is read at once. On a GPU it is copied behind the kernels and read one step later: the same step on
    every rank, so they still agree, and the device always has a step queued.
    """

    def __init__(self, device: torch.device) -> None:
        self._pending: list[tuple[Tensor, torch.cuda.Event]] = []
        self._late = device.type == "cuda"

    def read(self, votes: Tensor) -> bool:
        """Whether anyone voted; on a GPU, at the step before."""
        if not self._late:
            return bool(votes.item())
        copy = torch.empty((), dtype=votes.dtype, pin_memory=True)
        copy.copy_(votes, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._pending.append((copy, event))
        if len(self._pending) == 1:
            return False
        earlier, done = self._pending.pop(0)
        done.synchronize()
        return bool(earlier.item())
