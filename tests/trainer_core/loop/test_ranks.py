"""What a group writes into tensors is known to those who keep copies of them."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn

from trainer_core.loop.ranks import Group


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    """A group of this process alone."""
    launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "1"}
    for name, value in {**launcher, "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    group = Group(["cpu"])
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
