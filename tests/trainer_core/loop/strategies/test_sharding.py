"""What an optimizer has of a model in shards."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule

from trainer_core.failure import Failure
from trainer_core.loop.strategies.sharding import Shards, gather, shard


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


class Watched(nn.Module):
    """Notes the types of its weight and of its input."""

    def __init__(self, *beside: nn.Module) -> None:
        super().__init__()
        self.layer, self.beside = nn.Linear(3, 2), nn.ModuleList(beside)
        self.types: tuple[torch.dtype, ...] = ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output."""
        self.types = (self.layer.weight.dtype, x.dtype)
        return self.layer(x.to(self.layer.weight.dtype))


HALF, WHOLE = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("half", "beside", "gathered"),
    [
        (None, [], WHOLE),
        (HALF, [], HALF),
        (HALF, [nn.LayerNorm(2)], HALF),
        (HALF, [nn.BatchNorm1d(2)], WHOLE),
        (HALF, [nn.LayerNorm(2), nn.GRU(2, 2)], WHOLE),
    ],
)
def test_weights_are_gathered_in_half_but_for_layers_that_want_one_type(mesh: DeviceMesh, half, beside, gathered):
    """Inputs come as they are, and weights are kept as they were."""
    model = Watched(*(copy.deepcopy(module) for module in beside))
    shard(model, mesh, half)
    model(torch.ones(4, 3)).float().sum().backward()
    assert model.types == (gathered, WHOLE)
    assert {parameter.dtype for parameter in model.parameters()} == {WHOLE}
    assert model.layer.weight.grad is not None
    assert model.layer.weight.grad.dtype == WHOLE


def test_repeated_blocks_are_sharded_each_for_itself_unless_they_share_with_the_outside(mesh: DeviceMesh):
    model = nn.Module()
    model.layers = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(4))
    # Within itself, with the head, and with another block.
    model.layers[1][1].weight = model.layers[1][0].weight
    model.head = nn.Linear(2, 2)
    model.head.weight = model.layers[2][0].weight
    model.tail = nn.Linear(2, 2)
    model.tail.bias = model.layers[3][1].bias
    shard(model, mesh, None)
    assert [isinstance(layer, FSDPModule) for layer in model.layers] == [True, True, False, False]
    assert isinstance(model, FSDPModule)
    assert not isinstance(model.head, FSDPModule)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda model: setattr(model, "scale", nn.Parameter(torch.tensor(1.0))),
            "Parameter 'scale' is a single number",
        ),
        (
            lambda model: model.last.double(),
            "'head.weight' is torch.float32 and 'last.weight' is torch.float64, and FSDP",
        ),
        (
            lambda model: model.layers[1][0].half(),
            "'0.weight' is torch.float16 and '1.weight' is torch.float32, and FSDP",
        ),
    ],
)
def test_what_cannot_be_cut_or_gathered_is_refused_with_the_way_that_works(mesh: DeviceMesh, change, said):
    model = nn.Module()
    model.layers = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(2))
    model.head, model.last = nn.Linear(2, 2), nn.Linear(2, 2)
    change(model)
    with pytest.raises(Failure, match=said) as caught:
        shard(model, mesh, None)
    assert caught.value.error.code == "model_invalid"
    assert [patch.value for patch in caught.value.error.fix or ()] == ["ddp"]


def test_a_block_of_another_type_and_what_is_not_trained_are_gathered_as_they_are(mesh: DeviceMesh):
    model = nn.Sequential(*(nn.Sequential(nn.Linear(3, 3)) for _ in range(3)))
    model[1].double()
    model.append(nn.Linear(3, 3)).append(nn.Linear(3, 3).half().requires_grad_(False))
    shard(model, mesh, None)
    x = model[0](torch.ones(2, 3))
    model[2](model[1](x.double()).float()).sum().backward()
    assert [next(block.parameters()).grad is None for block in model] == [False, False, False, True, True]


def test_what_is_gathered_is_a_copy(mesh: DeviceMesh):
    """Of one rank as well, which has all of it."""
    model = nn.Linear(3, 2)
    shard(model, mesh, None)
    whole = gather(model.weight, keeps=True)
    before = whole.clone()
    with torch.no_grad():
        model.weight.zero_()
    assert torch.equal(whole, before)
    assert not whole.requires_grad
