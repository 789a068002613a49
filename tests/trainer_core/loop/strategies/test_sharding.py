"""What an optimizer has of a model in shards."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from trainer_core.loop.strategies.sharding import Shards, shard


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[DeviceMesh]:
    """A group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_the_state_that_an_optimizer_begins_with_goes_to_the_parts(mesh: DeviceMesh):
    """Adagrad has one before its first step; after that step weights and sums are those of a model that is whole."""
    model, x = nn.Linear(3, 2), torch.ones(4, 3)
    whole = copy.deepcopy(model)
    shard(model, mesh, None)
    optimizer, other = (
        torch.optim.Adagrad(each.parameters(), lr=0.1, initial_accumulator_value=0.5) for each in (model, whole)
    )
    shards = Shards(optimizer)
    assert shards.gather_state(optimizer.state_dict(), keeps=True)["state"].keys() == {0, 1}
    for network in (model, whole):
        network(x).square().sum().backward()
    shards.take_gradients()
    optimizer.step()
    other.step()
    for part, parameter in zip(shards.parts, whole.parameters(), strict=True):
        assert torch.equal(part, parameter)
        assert torch.equal(optimizer.state[part]["sum"], other.state[parameter]["sum"])
