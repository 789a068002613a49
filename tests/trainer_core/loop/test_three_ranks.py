"""What three ranks share and agree on, call by call."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from schemas.problems import PatchOperation
from tests.trainer_core.calls_on_ranks import call_on_ranks
from trainer_core.failure import Failure
from trainer_core.loop.ranks import Group, Totals

WORLD = 3
# Their sum is no float32.
_LARGE = [2.0**24, 1.0, 0.0]


class Reads(nn.Module):
    """Reads a buffer in training, writes it, and puts another tensor in the place of a second one."""

    written: Tensor
    replaced: Tensor

    def __init__(self, start: float) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.norm = nn.BatchNorm1d(1)
        self.register_buffer("written", torch.full((1,), start))
        self.register_buffer("replaced", torch.full((1,), start))
        self.seen: list[list[float]] = []

    def forward(self, x: Tensor, own: float) -> Tensor:
        """A sum that has a gradient; the buffers then hold the rank's ``own`` number."""
        self.seen.append([*self.written.tolist(), *self.replaced.tolist()])
        self.written.fill_(own)
        self.replaced = torch.full((1,), own)
        return self.norm(self.layer(x)).sum()


def work(ranks: Group) -> dict[str, Any]:
    """As one rank of three, each with numbers of its own."""
    number = float(ranks.index + 1)
    totals = Totals(torch.tensor(number), torch.tensor(10 * number))
    told, asked = ranks.total(totals, ranks.index == 1)
    _, unasked = ranks.total(totals, False)
    sums = [torch.tensor([number]), torch.tensor([2 * number, 0.0], dtype=torch.float64)]
    ranks.sum(sums)
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    for buffer in model.buffers():
        buffer.fill_(ranks.index + 5)
    weight = model[1].weight.detach().fill_(number)
    ranks.share_buffers(model)
    return {
        "who": (ranks.index, ranks.world, ranks.devices, ranks.local_world, ranks.nodes, ranks.node),
        "first": ranks.first,
        "speaks": ranks.speaks,
        "strategy": ranks.strategy,
        "shares": [ranks.share(np.arange(count)).tolist() for count in (7, 2)],
        "total": [told.loss_sum.item(), told.count.item(), asked, unasked],
        "large": ranks.total(Totals(torch.tensor(_LARGE[ranks.index]), torch.tensor(0.0)), False)[0].loss_sum.item(),
        "any": [ranks.any(ranks.index == 2), ranks.any(False)],
        "sum": [tensor.tolist() for tensor in sums],
        "most": ranks.most(ranks.index),
        "gathered": ranks.gather(ranks.index * 11),
        "read": ranks.from_first(lambda: ranks.index),
        "buffers": [buffer.flatten().tolist() for buffer in model.buffers()],
        "weight": weight.flatten().tolist(),
        "threads": torch.get_num_threads(),
        "passes": _passes(ranks, number),
        "read elsewhere": _read_elsewhere(ranks),
        # The last: a group that has searched once goes on searching.
        "rehearsed": [_wrapped(ranks, lambda: True), _wrapped(ranks, lambda: ranks.index != 1)],
    }


def _wrapped(ranks: Group, uses_all: Callable[[], bool]) -> tuple[int, bool]:
    """How often a pass is rehearsed, and whether parameters without a gradient are looked for."""
    rehearsed: list[nn.Module] = []
    network: Any = ranks.wrap(nn.Linear(1, 1), uses_all, rehearsed.append)
    assert all(one is network for one in rehearsed)
    return len(rehearsed), network.find_unused_parameters


def _read_elsewhere(ranks: Group) -> tuple[int, list[int]]:
    """What a rank of several nodes gets of what each would read, and who has read."""
    ranks.nodes, readers = 2, []

    def read() -> int:
        readers.append(ranks.index)
        return 10 + ranks.index

    got = ranks.from_first(read)
    ranks.nodes = 1
    return got, readers


def _passes(ranks: Group, number: float) -> list[list[float]]:
    """The buffers that each of four training passes found."""
    model = Reads(start=10 * number)
    model.layer.weight.data.fill_(1.0)
    network = ranks.wrap(model, lambda: True, lambda _network: None)
    for step in range(2):
        for last in (False, True):
            with ranks.passing(network, last):
                network(torch.ones(2, 1), 100 * step + 50 * last + number).backward()
    return model.seen


@pytest.fixture(scope="module")
def given() -> list[dict[str, Any]]:
    """What came of it, by rank."""
    return call_on_ranks(WORLD, Group, work)


def test_each_rank_knows_its_place(given):
    assert [rank["who"] for rank in given] == [(index, WORLD, WORLD, WORLD, 1, 0) for index in range(WORLD)]
    assert [(rank["first"], rank["speaks"]) for rank in given] == [(True, True), (False, False), (False, False)]
    assert {rank["strategy"] for rank in given} == {"ddp"}
    assert {rank["threads"] for rank in given} == {max(1, len(os.sched_getaffinity(0)) // WORLD)}


def test_samples_are_dealt_in_contiguous_shares(given):
    assert [rank["shares"][0] for rank in given] == [[0, 1, 2], [3, 4], [5, 6]]
    assert [rank["shares"][1] for rank in given] == [[0], [1], []]


def test_what_one_rank_knows_all_ranks_know(given):
    for rank in given:
        assert rank["total"] == [6.0, 60.0, True, False]
        assert rank["large"] == 2**24 + 1
        assert rank["any"] == [True, False]
        assert rank["sum"] == [[6.0], [12.0, 0.0]]
        assert rank["gathered"] == [0, 11, 22]
    # No pass of one waits for one of each other; and on one node each reads for itself.
    assert [rank["most"] for rank in given] == [0, 1, 2]
    assert [rank["read"] for rank in given] == [0, 1, 2]
    assert [rank["read elsewhere"] for rank in given] == [(10, [0]), (10, []), (10, [])]


def test_buffers_are_the_first_ranks_and_weights_are_left_alone(given):
    for index, rank in enumerate(given):
        assert rank["buffers"] == [[5.0, 5.0], [5.0, 5.0], [5]]
        assert rank["weight"] == [index + 1.0] * 4


def test_a_first_pass_is_rehearsed_and_one_rank_that_misses_a_gradient_lets_all_look_for_it(given):
    for rank in given:
        assert rank["rehearsed"] == [(1, False), (0, True)]


def test_each_training_pass_reads_the_buffers_of_the_first_rank(given):
    """Also in the middle of a step, and where the model has put another tensor in a buffer's place."""
    wanted = [[10.0, 10.0], [1.0, 1.0], [51.0, 51.0], [101.0, 101.0]]
    assert [rank["passes"] for rank in given] == [wanted] * WORLD


def _fail_at_length(ranks: Group) -> None:
    if ranks.index:
        fix = [PatchOperation(op="add", path="/modelConfig/args", value={"names": ["name"] * 20_000})]
        raise Failure("data_invalid", f"Of rank {ranks.index}: {'many words ' * 10_000}", fix=fix, detail="x" * 2048)
    ranks.any(False)


def test_whatever_a_rank_has_to_say_the_others_are_not_kept_waiting():
    with pytest.raises(Failure, match=r"^Of rank 1: many words many words") as caught:
        call_on_ranks(2, Group, _fail_at_length)
    error = caught.value.error
    assert (error.code, error.fix, error.untrusted) == ("data_invalid", None, "x" * 2048)
    assert 4000 < len(error.message) < 5000
