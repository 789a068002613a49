"""What a group does that one process can see: writes that are counted, exchanges, threads; and what it makes of parts."""

import os
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
from torch import nn

from trainer_core.loop.ranks import Group, Totals, buffers_read_in_training, is_lost_peer
from trainer_core.loop.recovery.restart import UnusedParameters
from trainer_core.loop.strategies.synced_norm import HostBatchNorm


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Group]:
    """A group of this process alone, with the arguments that the test gives it."""
    launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "1"}
    for name, value in {**launcher, "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    group = Group(["cpu"], **getattr(request, "param", {}))
    yield group
    group.close()
    torch.set_num_threads(threads)


def test_writes_of_collectives_are_counted(group: Group) -> None:
    sums, model = torch.ones(2), nn.BatchNorm1d(3)
    written = [sums, *model.buffers()]
    before = [tensor._version for tensor in written]
    group.sum([sums])
    group.share_buffers(model)
    assert [tensor._version for tensor in written] == [version + 1 for version in before]
    assert sums.tolist() == [1, 1]


def test_gradients_stay_on_their_rank_until_the_last_micro_batch(group: Group) -> None:
    """Each exchange would cost as much as that of a whole step."""
    exchanges = 0

    def count(_state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        nonlocal exchanges
        exchanges += 1
        future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    network = group.wrap(nn.Linear(3, 2), lambda: True, lambda _network: None)
    assert isinstance(network, nn.parallel.DistributedDataParallel)
    network.register_comm_hook(None, count)
    for last in (False, False, True):
        with group.passing(network, last):
            network(torch.ones(4, 3)).sum().backward()
        assert exchanges == int(last)
    weight = network.module.weight
    assert weight.grad is not None
    assert weight.grad.tolist() == [[12.0] * 3] * 2


@pytest.mark.parametrize(("group", "synced"), [({}, True), ({"synced": False}, False)], indirect=["group"])
def test_batch_normalisation_sees_all_ranks_where_that_is_wanted(group: Group, synced: bool) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    group.prepare(model)
    assert isinstance(model[0], HostBatchNorm) == synced


@pytest.mark.parametrize(
    ("group", "uses_all", "searches"),
    [({}, True, False), ({}, False, True), ({"searches": True}, True, True)],
    indirect=["group"],
)
def test_parameters_without_a_gradient_are_looked_for_where_there_may_be_some(
    group: Group, uses_all: bool, searches: bool
) -> None:
    """Elsewhere a pass that leaves one out is refused."""
    model = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
    model.forward = lambda x: model[0](x).sum()
    network = group.wrap(model, lambda: uses_all, pytest.fail)
    assert isinstance(network, nn.parallel.DistributedDataParallel)
    assert network.find_unused_parameters == searches
    with nullcontext() if searches else pytest.raises(UnusedParameters), group.passing(network, last=True):
        network(torch.ones(4, 3)).backward()


def test_what_is_exchanged_is_no_more_than_gradients_and_what_training_reads(group: Group) -> None:
    """Gradients are views of what is exchanged, and take no memory of their own."""
    plain, reads = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), nn.Linear(3, 2)
    reads.register_buffer("own", torch.zeros(1))
    for model, buffers in ((plain, False), (reads, True)):
        network = group.wrap(model, lambda: True, pytest.fail)
        assert isinstance(network, nn.parallel.DistributedDataParallel)
        assert (network.forward_sync_buffers, network.gradient_as_bucket_view) == (buffers, True)


def test_the_cores_are_those_of_the_ranks_of_this_machine(group: Group) -> None:
    assert torch.get_num_threads() == len(os.sched_getaffinity(0))


def totals(loss: float, count: float) -> Totals:
    """In float32, as a pass has them."""
    return Totals(torch.tensor(loss), torch.tensor(count))


def test_totals_of_parts_are_summed_where_float32_would_lose_some() -> None:
    alone = totals(3.0, 2.0)
    assert Totals.of([alone]) is alone
    together = Totals.of([totals(2.0**24, 1.0), totals(1.0, 2.0), totals(1.0, 2.0**25)])
    assert (together.loss_sum.item(), together.count.item()) == (2**24 + 2, 2**25 + 3)
    nothing = totals(3.0, 2.0).nothing()
    assert (nothing.loss_sum.item(), nothing.count.item()) == (0, 0)


class Own(nn.Module):
    """A module with a buffer, around others."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("outer", torch.zeros(1))
        self.inner = nn.Sequential(nn.BatchNorm1d(2), nn.InstanceNorm1d(2, track_running_stats=True), nn.Linear(1, 1))
        self.inner[2].register_buffer("own", torch.zeros(2))


def test_statistics_of_normalisations_are_no_buffers_that_training_reads() -> None:
    model = Own()
    read = buffers_read_in_training(model)
    assert [id(buffer) for buffer in read] == [id(model.get_buffer(name)) for name in ("outer", "inner.2.own")]
    assert not buffers_read_in_training(nn.BatchNorm1d(2))


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (dist.DistNetworkError("gone"), True),
        (RuntimeError("[../gloo/transport/tcp/pair.cc:553] Connection closed by peer"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("gloo/transport"), False),
    ],
)
def test_a_peer_that_is_gone_is_known_by_torchs_errors_and_gloos(error: Exception, lost: bool) -> None:
    assert is_lost_peer(error) == lost
