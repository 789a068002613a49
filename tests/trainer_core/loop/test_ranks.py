"""What a group writes into tensors is known to those who keep copies of them."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from trainer_core.loop.ranks import Group


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    """A group of this process alone."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
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
