"""Which batch normalisations see all ranks' samples; that they compute what one process does, ``test_ddp`` shows."""

import torch
from torch import nn

from trainer_core.loop.strategies.synced_norm import HostBatchNorm, sees_one_rank, sync_batch_norms

CPU = torch.device("cpu")


class OwnNorm(nn.BatchNorm1d):
    """One that a model file makes of torch's."""


def make() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(3), OwnNorm(3), nn.Sequential(nn.BatchNorm1d(3)), nn.BatchNorm1d(3).eval())


def test_modules_names_and_state_stay_what_they_are():
    model = make()
    modules, state = list(model.modules()), {name: value.clone() for name, value in model.state_dict().items()}
    sync_batch_norms(model, CPU)
    assert list(model.modules()) == modules
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    synced = [True, False, False, True, True]
    assert [isinstance(module, HostBatchNorm) for module in modules[1:]] == synced
    on_gpu = make()
    sync_batch_norms(on_gpu, torch.device("cuda"))
    assert [isinstance(module, nn.SyncBatchNorm) for module in list(on_gpu.modules())[1:]] == synced


def test_those_that_see_one_rank_are_named():
    model = make()
    assert sees_one_rank(model, synced=False) == ["0", "1", "2.0"]
    assert sees_one_rank(model, synced=True) == ["1"]
    sync_batch_norms(model, CPU)
    assert sees_one_rank(model, synced=True) == ["1"]


def test_in_evaluation_it_is_torchs_own():
    torch.manual_seed(0)
    model, plain = nn.Sequential(nn.BatchNorm1d(3)).eval(), nn.Sequential(nn.BatchNorm1d(3)).eval()
    x = torch.randn(5, 3)
    sync_batch_norms(model, CPU)
    assert torch.equal(model(x), plain(x))
