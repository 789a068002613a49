"""Which batch normalisations see all ranks' samples; that they compute what one process does, ``test_ddp`` shows."""

import torch
from torch import nn

from trainer_core.loop.strategies.synced_norm import (
    HostBatchNorm,
    norms_alone,
    norms_set_aside,
    sees_one_rank,
    sync_batch_norms,
)

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
    for device in (CPU, torch.device("cuda")):
        model = make()
        sync_batch_norms(model, device)
        assert sees_one_rank(model, synced=True) == ["1"]


def test_in_evaluation_it_is_torchs_own():
    torch.manual_seed(0)
    model, plain = nn.Sequential(nn.BatchNorm1d(3)).eval(), nn.Sequential(nn.BatchNorm1d(3)).eval()
    x = torch.randn(5, 3)
    sync_batch_norms(model, CPU)
    assert torch.equal(model(x), plain(x))


def test_one_whose_forward_was_replaced_is_left_alone():
    model = make()
    model[0].forward = lambda x: x
    sync_batch_norms(model, CPU)
    assert type(model[0]) is nn.BatchNorm1d
    assert sees_one_rank(model, synced=True) == ["0", "1"]


def test_alone_they_wait_for_nobody_and_take_any_shape():
    """There is no group here, which a batch normalisation over ranks would ask for."""
    for device in (CPU, torch.device("cuda")):
        model = make()
        kinds = [type(module) for module in make().modules()]
        sync_batch_norms(model, device)
        synced = [type(module) for module in model.modules()]
        with norms_alone(model):
            for shape in ((4, 3), (4, 3, 2), (4, 3, 2, 2)):
                model[0](torch.randn(shape))
            assert isinstance(model[1], OwnNorm)
        assert [type(module) for module in model.modules()] == synced != kinds


def test_those_that_are_set_aside_go_by_their_statistics():
    """A rank's single sample is none to them."""
    model = make()
    flags = [module.training for module in model.modules()]
    with norms_set_aside(model):
        assert [module.training for module in model.modules()] == [True, False, True, True, False, False]
        assert torch.isfinite(model[0](torch.ones(1, 3))).all()
    assert [module.training for module in model.modules()] == flags == [True, True, True, True, True, False]
