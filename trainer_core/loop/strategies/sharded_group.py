"""Several processes, each with a part of the model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule

from trainer_core.loop.gradients import Gradients
from trainer_core.loop.ranks import Group, Rehearse, buffers_read_in_training
from trainer_core.loop.strategies.sharding import Shards, deal_model, gather_all, shard


class ShardedGroup(Group):
    """This process is one of several that share out parameters, gradients and the optimizer's state: FSDP2.

    Every pass gathers parameters from all ranks, so all of them take as many passes, in training and in evaluation.
    """

    strategy = "fsdp"

    def __init__(
        self, devices: list[str], half: torch.dtype | None = None, synced: bool = True, **joining: Any
    ) -> None:
        """Join as ``Group`` does. Parameters are gathered in ``half`` where it is given."""
        super().__init__(devices, synced, **joining)
        self._half = half
        self._mesh = init_device_mesh(self.device.type, (self.world,))

    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        self._share_each_pass(model)
        shard(model, self._mesh, self._half)

    def _share_each_pass(self, model: nn.Module) -> None:
        """Buffers that training may read are the first rank's before each pass of it, as DistributedDataParallel has it."""

        def share(module: nn.Module, _inputs: Any) -> None:
            if module.training:
                # Those of now: a model may put other tensors in their places.
                for buffer in buffers_read_in_training(module):
                    dist.broadcast(buffer, src=0)

        if buffers_read_in_training(model):
            model.register_forward_pre_hook(share)

    def adopt(self, optimizer: torch.optim.Optimizer) -> Gradients:
        self._shards = Shards(optimizer)
        return ShardedGradients(self._shards)

    def wrap(self, network: nn.Module, uses_all: Callable[[], bool], rehearse: Rehearse) -> nn.Module:
        return network

    @contextmanager
    def passing(self, network: nn.Module, last: bool) -> Iterator[None]:
        assert isinstance(network, FSDPModule)
        network.set_requires_gradient_sync(last)
        yield
        if last:
            self._shards.take_gradients()

    def most(self, number: int) -> int:
        highest = torch.full((), number, dtype=torch.int64, device=self.device)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return int(highest.item())

    def whole_model(self, state: dict[str, Any]) -> dict[str, Any]:
        return {name: gather_all(value, self.first) for name, value in state.items()}

    def whole_optimizer(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return self._shards.gather_state(optimizer.state_dict(), self.first)

    def held_model(self, model: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
        return deal_model(state, model)

    def held_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        return self._shards.deal_state(state)


class ShardedGradients(Gradients):
    """Those of the parts that a rank holds; their norm is that of all ranks' together."""

    def __init__(self, shards: Shards) -> None:
        super().__init__(shards.parts)

    def norm(self) -> Tensor:
        """The 2-norm of the whole gradients, the same on every rank, without a sync of a GPU."""
        squares = super().norm().square()
        dist.all_reduce(squares)
        return squares.sqrt()
