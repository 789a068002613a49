"""The direct step of an optimizer is torch's own, to the bit."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from schemas.training import TrainingConfig
from trainer_core.loop.optimizers import build_optimizer
from trainer_core.loop.stepping import DirectStep

CPU = torch.device("cpu")
DIRECT = [
    {"optimizer": "AdamW"},
    {"optimizer": "AdamW", "optimizerArgs": {"amsgrad": True, "betas": [0.8, 0.9]}},
    {"optimizer": "AdamW", "optimizerArgs": {"maximize": True}, "weightDecay": 0.3},
    {"optimizer": "Adam", "weightDecay": 0.1},
    {"optimizer": "Adam", "weightDecay": 0.1, "optimizerArgs": {"decoupled_weight_decay": True}},
    {"optimizer": "SGD"},
    {"optimizer": "SGD", "optimizerArgs": {"momentum": 0.9, "nesterov": True}, "weightDecay": 0.1},
    {"optimizer": "SGD", "optimizerArgs": {"momentum": 0.9, "maximize": True}},
]
OWN: list[dict[str, object]] = [
    *({"optimizer": name} for name in ("Adagrad", "RMSprop", "NAdam", "Adamax", "Rprop", "Adadelta", "ASGD", "RAdam")),
    {"optimizer": "SGD", "optimizerArgs": {"momentum": 0.9, "dampening": 0.3}},
]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3))


def both(document: dict[str, object]) -> tuple[Optimizer, Optimizer]:
    """Ours, and torch's with the same arguments."""
    ours = build_optimizer(network(), TrainingConfig.model_validate(document), 0.01, CPU)
    theirs = build_optimizer(network(), TrainingConfig.model_validate(document), 0.01, CPU)
    theirs.__dict__.pop("step", None)
    return ours, theirs


def parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def give_gradients(optimizer: Optimizer, seed: int, without: int | None = None) -> None:
    generator = torch.Generator().manual_seed(seed)
    for number, parameter in enumerate(parameters(optimizer)):
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = None if number == without else gradient


def assert_equal(ours: Optimizer, theirs: Optimizer) -> None:
    for one, other in zip(parameters(ours), parameters(theirs), strict=True):
        assert one.equal(other)
        assert ours.state[one].keys() == theirs.state[other].keys()
        for name, value in ours.state[one].items():
            assert value.equal(theirs.state[other][name])


@pytest.mark.parametrize("document", [*DIRECT, *OWN], ids=str)
def test_steps_are_torchs_own(document: dict[str, object]) -> None:
    ours, theirs = both(document)
    assert isinstance(ours.step, DirectStep) == (document in DIRECT)
    # The second parameter has no gradient in the first step, and the third none in a later one.
    for step, missing in enumerate([1, None, None, 2, None, None]):
        for optimizer in (ours, theirs):
            give_gradients(optimizer, step, missing)
            optimizer.param_groups[0]["lr"] = 0.01 / (step + 1)
            optimizer.step()
    assert_equal(ours, theirs)


@pytest.mark.parametrize("late", [{1}, {0, 2, 3}])
@pytest.mark.parametrize("arguments", [{}, {"nesterov": True}, {"dampening": 0.3}, {"maximize": True}], ids=str)
def test_momentum_of_a_parameter_whose_gradients_begin_late(arguments: dict[str, object], late: set[int]) -> None:
    """Torch's fused step fails on it; its plain one is the measure."""
    document = {"optimizer": "SGD", "optimizerArgs": {"momentum": 0.9, **arguments}, "weightDecay": 0.1}
    ours, model = build_optimizer(network(), TrainingConfig.model_validate(document), 0.01, CPU), network()
    decays = [group["weight_decay"] for group in ours.param_groups for _ in group["params"]]
    # In our order: matrices first, then what has no weight decay.
    ordered = sorted(model.parameters(), key=lambda parameter: parameter.ndim < 2)
    groups = [{"params": [one], "weight_decay": decay} for one, decay in zip(ordered, decays, strict=True)]
    plain = torch.optim.SGD(groups, lr=0.01, momentum=0.9, foreach=False, fused=False, **arguments)
    for step in range(6):
        for optimizer in (ours, plain):
            give_gradients(optimizer, step)
            for number in late if step < 3 else ():
                parameters(optimizer)[number].grad = None
            optimizer.step()
    for one, other in zip(parameters(ours), parameters(plain), strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(ours.state[one]["momentum_buffer"], plain.state[other]["momentum_buffer"])


@pytest.mark.parametrize("document", DIRECT, ids=str)
def test_a_loaded_state_is_the_one_that_is_stepped(document: dict[str, object]) -> None:
    ours, theirs = both(document)
    saved = {}
    for step in range(4):
        for optimizer in (ours, theirs):
            give_gradients(optimizer, step)
            optimizer.step()
        if step == 1:
            saved = copy.deepcopy(theirs.state_dict())
    for optimizer in (ours, theirs):
        # Loading takes the tensors as they are.
        optimizer.load_state_dict(copy.deepcopy(saved))
        for step in range(4, 7):
            give_gradients(optimizer, step)
            optimizer.step()
    assert_equal(ours, theirs)


def test_the_short_way_is_taken_when_every_parameter_has_a_gradient() -> None:
    ours, _ = both({"optimizer": "AdamW"})
    own_steps = []
    assert isinstance(ours.step, DirectStep)
    ours.register_step_pre_hook(lambda *_: own_steps.append(1))
    for step in range(3):
        give_gradients(ours, step)
        ours.step()
    assert len(own_steps) == 1


def test_parameters_of_two_types_are_stepped_by_torch() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    optimizer = build_optimizer(model, TrainingConfig(), 0.01, CPU)
    assert not isinstance(optimizer.step, DirectStep)
