"""What two ranks hold of a model and its optimizer is that of one process, cut, and comes back from what it was made whole of."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tests.trainer_core.calls_on_ranks import call_on_ranks
from trainer_core.loop.gradients import Gradients
from trainer_core.loop.strategies.sharded_group import ShardedGroup

WORLD = 2
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "AdamW": {"lr": 0.1, "amsgrad": True},
    "SGD": {"lr": 0.1},
    "Adagrad": {"lr": 0.1, "initial_accumulator_value": 0.5},
}


class Net(nn.Module):
    """Rows that do not divide, a parameter of which one rank holds nothing, and buffers that are read in training: one is
    written, another tensor is put in the place of the other. In double precision."""

    written: Tensor
    replaced: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 2)
        self.factor = nn.Parameter(torch.ones(1))
        self.register_buffer("written", torch.full((1,), 10.0))
        self.register_buffer("replaced", torch.full((1,), 10.0))
        self.seen: list[list[float]] = []
        self.double()

    def forward(self, x: Tensor, own: float = 0.0) -> Tensor:
        """A number for each sample and class; the buffers then hold the rank's ``own`` number."""
        self.seen.append([*self.written.tolist(), *self.replaced.tolist()])
        self.written.fill_(own)
        self.replaced = torch.full((1,), own, dtype=torch.float64)
        return self.last(torch.tanh(self.first(x))) * self.factor


def draw() -> Tensor:
    """Two steps of two passes of two samples, one for each rank."""
    return torch.randn((2, 2, WORLD, 3), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """All of it, as it is on this rank."""
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()["state"]}


def copied(tree: Any) -> Any:
    """Plain tensors, those of others only named."""
    if isinstance(tree, Tensor):
        local = tree.to_local() if isinstance(tree, DTensor) else tree
        return f"of another: {tuple(local.shape)}" if local.is_meta else local.detach().clone()
    return {key: copied(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def alone(name: str) -> dict[str, Any]:
    """What one process comes to."""
    model = Net()
    optimizer = getattr(torch.optim, name)(model.parameters(), **OPTIMIZERS[name])
    norms = []
    for step in draw():
        model(step.reshape(-1, 3)).square().sum().backward()
        norms.append(Gradients(model.parameters()).norm().item())
        optimizer.step()
        optimizer.zero_grad()
    return {"norms": norms, **copied(state_of(model, optimizer))}


def work(ranks: ShardedGroup) -> dict[str, Any]:
    """As one rank of two."""
    given: dict[str, Any] = {name: _train(ranks, name) for name in OPTIMIZERS}
    given["most"] = [ranks.most(ranks.index), ranks.most(5 - ranks.index), ranks.most(ranks.index == 1)]
    given["strategy"] = ranks.strategy
    return given


def _train(ranks: ShardedGroup, name: str) -> dict[str, Any]:
    model: Any = Net()
    ranks.prepare(model)
    optimizer = getattr(torch.optim, name)(model.parameters(), **OPTIMIZERS[name])
    gradients = ranks.adopt(optimizer)
    network = ranks.wrap(model, lambda: True, lambda _network: None)
    norms, exchanged = [], []
    for number, step in enumerate(draw()):
        for last, samples in enumerate(step):
            own = 100.0 * number + 50.0 * last + ranks.index + 1
            with ranks.passing(network, bool(last)):
                (network(samples[ranks.index :][:1], own).square().sum() * WORLD).backward()
            exchanged.append(sum(parameter.grad is not None for parameter in optimizer.param_groups[0]["params"]))
        norms.append(gradients.norm().item())
        optimizer.step()
        gradients.clear()
    seen = list(model.seen)
    with torch.no_grad():
        model.eval()(torch.ones(1, 3, dtype=torch.float64), ranks.index + 1.0)
        model(torch.ones(1, 3, dtype=torch.float64), ranks.index + 1.0)
    model.train()
    ranks.share_buffers(model)
    held = copied(state_of(model, optimizer))
    whole_model = ranks.whole_model({**model.state_dict(), "more": {"nested": [model.last.weight, 3], "text": "so"}})
    more, whole = whole_model.pop("more"), ranks.whole_optimizer(optimizer)
    kept = {"model": copied(whole_model), "optimizer": copied(whole["state"])}
    with torch.no_grad():
        for value in [*model.parameters(), *(value for slot in optimizer.state.values() for value in slot.values())]:
            if isinstance(value, Tensor) and value.ndim:
                (value.to_local() if isinstance(value, DTensor) else value).fill_(7.0)
    unmoved = same({"model": copied(whole_model), "optimizer": copied(whole["state"])}, kept)
    model.load_state_dict(ranks.held_model(model, whole_model))
    optimizer.load_state_dict(ranks.held_optimizer(optimizer, whole))
    return {
        "whole": {"norms": norms, **kept},
        "exchanged": exchanged,
        "seen": seen,
        "read in evaluation": model.seen[-1],
        "elements": sum(part.numel() for part in optimizer.param_groups[0]["params"]),
        "unmoved": unmoved,
        "back": same(copied(state_of(model, optimizer)), held),
        "nested": (more["nested"][0].shape, more["nested"][1], more["text"]),
    }


def same(one: Any, other: Any, bound: float = 0.0) -> bool:
    """Whether two trees hold the same, up to a ``bound``."""
    if isinstance(one, Tensor):
        alike = isinstance(other, Tensor) and one.dtype == other.dtype and one.shape == other.shape
        return alike and torch.allclose(one, other, rtol=0, atol=bound)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key], bound) for key in one)
    return bool(one == pytest.approx(other, abs=bound) if isinstance(one, list) else one == other)


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    """What came of it, by rank."""
    return call_on_ranks(WORLD, ShardedGroup, work)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_whole_it_is_that_of_one_process(ranks, name):
    """On the first rank; others have shapes. The norm is that of all gradients, on all."""
    first, second = (rank[name]["whole"] for rank in ranks)
    wanted = alone(name)
    for buffer in ("written", "replaced"):
        assert first["model"].pop(buffer).item() == 1.0
        wanted["model"].pop(buffer)
    assert same(first, wanted, 1e-12)
    assert second["norms"] == first["norms"]
    assert {name: value for name, value in second["model"].items() if isinstance(value, str)} == {
        name: f"of another: {tuple(value.shape)}" for name, value in first["model"].items()
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_rank_has_its_part_back(ranks, name):
    """Of the first rank's whole, whose cut tensors nothing that is trained meanwhile changes; nested and beside what is no tensor as well."""
    assert sum(rank[name]["elements"] for rank in ranks) == sum(parameter.numel() for parameter in Net().parameters())
    for rank in ranks:
        assert rank[name]["unmoved"]
        assert rank[name]["back"]
        assert rank[name]["nested"] == ((2, 5), 3, "so")


def test_gradients_are_exchanged_after_the_last_pass_of_a_step(ranks):
    for rank in ranks:
        assert rank["SGD"]["exchanged"] == [0, 5, 0, 5]


def test_each_training_pass_reads_the_buffers_of_the_first_rank(ranks):
    """Also where the model has put another tensor in a buffer's place. In evaluation each reads its own."""
    for index, rank in enumerate(ranks):
        assert rank["SGD"]["seen"] == [[10.0, 10.0], [1.0, 1.0], [51.0, 51.0], [101.0, 101.0]]
        assert rank["SGD"]["read in evaluation"] == [index + 1.0] * 2


def test_all_ranks_take_as_many_passes_as_the_one_with_the_most(ranks):
    for rank in ranks:
        assert rank["most"] == [1, 5, 1]
        assert rank["strategy"] == "fsdp"
