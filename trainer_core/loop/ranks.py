"""One process, or several that train one model together: what they share, and on what they agree."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import Store
from torch.nn.modules.batchnorm import _NormBase

from trainer_core.data.samples import Indices
from trainer_core.loop.flat_gradients import build_gradients
from trainer_core.loop.gradients import Gradients
from trainer_core.loop.recovery.restart import UnusedParameters
from trainer_core.loop.strategies.synced_norm import sync_batch_norms
from trainer_core.loop.vote import Vote

T = TypeVar("T")

Rehearse = Callable[[nn.Module], object]

_ALONE = nullcontext()
_TIMEOUT = timedelta(minutes=30)


@dataclass(slots=True)
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
    devices = 1
    nodes = 1
    node = 0
    local_world = 1
    strategy = "single"

    @property
    def first(self) -> bool:
        """Whether this rank saves."""
        return self.index == 0

    @property
    def speaks(self) -> bool:
        """Whether this rank says the events: the first one of its node."""
        return True

    def share(self, indices: Indices) -> Indices:
        """This rank's part of ``indices``: contiguous, sizes differ by one at most, empty when there are too few."""
        return indices

    def prepare(self, model: nn.Module) -> None:
        """Make of ``model``, in place, what several ranks train. Names and whole values of its state stay what they are."""

    def adopt(self, optimizer: torch.optim.Optimizer) -> Gradients:
        """The gradients of all parameters of ``optimizer``, which has no state yet; what it steps from here on is what
        this rank holds of each."""
        return build_gradients(_parameters_of(optimizer))

    def wrap(self, network: nn.Module, uses_all: Callable[[], bool], rehearse: Rehearse) -> nn.Module:
        """The network to call: ``network``, with gradients averaged over ranks in the backward pass. ``uses_all`` tries out
        whether a pass gives every trainable parameter a gradient; ``rehearse`` takes a pass through a network and undoes it."""
        return network

    def passing(self, network: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """The context of a micro-batch. Gradients stay on this rank until the ``last`` of a step; after it they are the
        mean over ranks. Raises Restart for a parameter that was not expected to be without one."""
        return _ALONE

    def total(self, totals: Totals, stop: bool) -> tuple[Totals, bool]:
        """``totals`` summed over all ranks, and whether any of them was asked to ``stop``."""
        return totals, stop

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set on any rank."""
        return flag

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Sum each tensor over all ranks, in place."""

    def most(self, number: int) -> int:
        """The largest ``number`` of any rank, where a pass on one of them waits for one on each other; else this rank's
        own. All ranks ask together."""
        return number

    def gather(self, thing: Any) -> list[Any]:
        """``thing`` of every rank, by rank, on every rank. Small picklable things."""
        return [thing]

    def from_first(self, read: Callable[[], T]) -> T:
        """What ``read`` gives on the first rank: on one node each rank reads for itself, other nodes need not have the
        file. All ranks ask together."""
        return read()

    def whole_model(self, state: dict[str, Any]) -> dict[str, Any]:
        """The ``state`` of a model, whole on the first rank; on others a part may stand on the meta device, with its shape
        alone. All ranks take part."""
        return state

    def whole_optimizer(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The same of ``optimizer``."""
        return optimizer.state_dict()

    def held_model(self, model: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
        """What ``model.load_state_dict`` takes of the whole ``state``, that of the first rank. All ranks take part."""
        return state

    def held_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """The same for ``optimizer``."""
        return state

    def share_buffers(self, model: nn.Module) -> None:
        """Give every rank the first rank's buffers (running statistics), which are the ones that are saved."""

    def close(self) -> None:
        """Leave the group."""


class Group(Ranks):
    """This process is one of several, on one node or more, each with the whole model: DistributedDataParallel over
    torch.distributed, NCCL between GPUs, gloo between CPUs."""

    strategy = "ddp"

    def __init__(
        self,
        devices: list[str],
        synced: bool = True,
        searches: bool = False,
        *,
        lost_after: timedelta = _TIMEOUT,
        store: Store | None = None,
    ) -> None:
        """Join the group that the launcher's environment names (those who meet in ``store``, where it is given), with this
        rank's device of the node's ``devices``. Several processes on CPUs share the cores among them. Batch normalisation is
        ``synced``, or sees the samples of one rank; whether each step ``searches`` for parameters without a gradient is
        tried out where it is not said. A rank that is waited for longer than ``lost_after`` is lost."""
        self._local_index = int(os.environ["LOCAL_RANK"])
        self.device = torch.device(devices[self._local_index])
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        else:
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // len(devices)))
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        dist.init_process_group(backend, timeout=lost_after, rank=rank, world_size=world, store=store)
        self.index = dist.get_rank()
        self.world = dist.get_world_size()
        self.devices = self.local_world = len(devices)
        self.nodes, self.node = int(os.environ["GROUP_WORLD_SIZE"]), int(os.environ["GROUP_RANK"])
        # What the first rank reads is sent from host to host: on the devices there may be no room for it.
        self._hosts = (
            dist.new_group(backend="gloo", timeout=lost_after) if self.nodes > 1 and backend != "gloo" else None
        )
        self._synced = synced
        self._searches = searches
        self._vote = Vote(self.device)

    @property
    def speaks(self) -> bool:
        return self._local_index == 0

    def share(self, indices: Indices) -> Indices:
        return np.array_split(indices, self.world)[self.index]

    def prepare(self, model: nn.Module) -> None:
        if self._synced:
            sync_batch_norms(model, self.device)

    def adopt(self, optimizer: torch.optim.Optimizer) -> Gradients:
        # DistributedDataParallel lets them be views of what it exchanges.
        return Gradients(_parameters_of(optimizer))

    def wrap(self, network: nn.Module, uses_all: Callable[[], bool], rehearse: Rehearse) -> nn.Module:
        # To search for unused parameters cost a seventh to a third of a step (two processes on CPUs: 27 instead of 23 ms,
        # 3.4 instead of 2.1). Without it a parameter that gets no gradient leaves the other ranks waiting for it.
        self._searches = self._searches or self.any(not uses_all())
        wrapped = nn.parallel.DistributedDataParallel(
            network,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            find_unused_parameters=self._searches,
            # As fast as with copies, and gradients take half the memory.
            gradient_as_bucket_view=True,
            # Running statistics are those of the first rank, whenever they are read (``share_buffers``). What else a model
            # keeps in buffers, its training pass may read.
            forward_sync_buffers=bool(buffers_read_in_training(network)),
        )
        # After its first pass DDP orders gradients anew, and three numbers or more are then summed in another order: a run
        # that is resumed, or has searched before it began, would differ in its last bits from one that did not.
        if self.world > 2 and not self._searches:
            rehearse(wrapped)
        return wrapped

    def passing(self, network: nn.Module, last: bool) -> AbstractContextManager[Any]:
        assert isinstance(network, nn.parallel.DistributedDataParallel)
        # By itself DDP shares buffers before the first pass of a step alone.
        network.require_forward_param_sync = True
        if not last:
            return network.no_sync()
        return _ALONE if self._searches else expecting_gradients(network)

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
            note_written(tensor)

    def gather(self, thing: Any) -> list[Any]:
        things: list[Any] = [None] * self.world
        dist.all_gather_object(things, thing)
        return things

    def from_first(self, read: Callable[[], T]) -> T:
        if self.nodes == 1:
            return read()
        things = [read() if self.first else None]
        dist.broadcast_object_list(things, src=0, group=self._hosts)
        return cast(T, things[0])

    def share_buffers(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
            note_written(buffer)

    def close(self) -> None:
        dist.destroy_process_group()


def _parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def buffers_read_in_training(network: nn.Module) -> list[Tensor]:
    """Those beside the statistics of normalisations, which training only writes."""
    return [
        buffer
        for module in network.modules()
        if not isinstance(module, _NormBase)
        for buffer in module.buffers(recurse=False)
    ]


@contextmanager
def expecting_gradients(network: nn.Module) -> Iterator[None]:
    """A pass inside is to give every trainable parameter a gradient. Raises UnusedParameters where it did not, before any
    rank takes the step: the others still wait for this one's gradient."""
    parameters = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    before = [None if parameter.grad is None else parameter.grad._version for _, parameter in parameters]
    yield
    unused = [
        name
        for (name, parameter), version in zip(parameters, before, strict=True)
        if parameter.grad is None or parameter.grad._version == version
    ]
    if unused:
        raise UnusedParameters([name.removeprefix("module.") for name in unused])


def note_written(tensor: Tensor) -> None:
    """Count a collective's write, which torch does not: who keeps a copy looks at the count."""
    torch.autograd.graph.increment_version(tensor)


def is_lost_peer(error: BaseException) -> bool:
    """Whether ``error`` says that another process of the group is gone: torch's own errors, and gloo's plain ones."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))
