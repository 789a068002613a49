"""Rates and weight decay of their own: who belongs to which group, and that every schedule keeps the proportion."""

import pytest
import torch
from torch import nn

from schemas.events import EpochCompleted, ModelLoaded, Step
from schemas.parameter_groups import ParameterGroup
from schemas.training import TrainingConfig
from trainer_core.failure import Failure
from trainer_core.loop.gradients import get_learning_rate, set_learning_rate
from trainer_core.loop.optimizers import build_optimizer
from trainer_core.loop.preparing.parameter_groups import group_parameters
from trainer_core.loop.schedules import build_schedule

CPU = torch.device("cpu")
GROUPS = [
    {"match": "backbone.0", "learningRateFactor": 0.01},
    {"match": "backbone", "learningRate": 0.02, "weightDecay": 0.5},
]


def network() -> nn.Module:
    return nn.ModuleDict({"backbone": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), "head": nn.Linear(4, 2)})


def groups_of(*wanted: dict) -> list[ParameterGroup]:
    return [ParameterGroup.model_validate(group) for group in wanted]


def test_the_first_match_holds_and_the_main_group_comes_first():
    found = group_parameters(network(), groups_of(*GROUPS), 0.1, 0.01)
    assert [(item.name, [name for name, _ in item.parameters]) for item in found] == [
        ("decay", ["head.weight"]),
        ("no_decay", ["head.bias"]),
        ("backbone.0 decay", ["backbone.0.weight"]),
        ("backbone.0 no_decay", ["backbone.0.bias"]),
        ("backbone decay", ["backbone.1.weight"]),
        ("backbone no_decay", ["backbone.1.bias"]),
    ]
    assert [item.lr_factor for item in found] == [1, 1, 0.01, 0.01, 0.02 / 0.1, 0.02 / 0.1]
    assert [item.weight_decay for item in found] == [0.01, 0, 0.01, 0, 0.5, 0]


@pytest.mark.parametrize(("decay", "spared"), [(None, ["0.bias", "3.bias"]), (0, None)])
def test_what_is_spared_weight_decay_is_listed(bench, decay, spared):
    training = {"epochs": 1, "optimizer": "AdamW", **({} if decay is None else {"weightDecay": decay})}
    (loaded,) = bench.train(trainingConfig=training).of(ModelLoaded)
    assert (loaded.without_decay and loaded.without_decay.first) == spared


@pytest.mark.parametrize(
    ("groups", "said", "pointer"),
    [
        ([{"match": "bacbone.*"}], "fits no trainable parameter", "/trainingConfig/parameterGroups/0/match"),
        ([{"match": "*"}, {"match": "head"}], "of groups before it", "/trainingConfig/parameterGroups/1/match"),
    ],
)
def test_a_group_of_nothing_is_refused(groups, said, pointer):
    with pytest.raises(Failure, match=said) as caught:
        group_parameters(network(), groups_of(*groups), 0.1, 0.01)
    assert (caught.value.error.code, caught.value.error.place.pointer) == ("input_invalid", pointer)


def test_a_frozen_parameter_is_in_no_group():
    model = network()
    model["backbone"][0].requires_grad_(False)
    with pytest.raises(Failure, match="fits no trainable parameter"):
        group_parameters(model, groups_of({"match": "backbone.0"}), 0.1, 0.01)


SCHEDULES = [
    ("none", {}),
    ("cosine", {}),
    ("StepLR", {"step_size": 2, "gamma": 0.5}),
    ("OneCycleLR", {"max_lr": 0.3}),
    ("ReduceLROnPlateau", {"patience": 0}),
]


@pytest.mark.parametrize(("name", "arguments"), SCHEDULES)
def test_every_schedule_scales_all_groups_alike(name, arguments):
    training = TrainingConfig.model_validate(
        {"learningRate": 0.1, "scheduler": name, "schedulerArgs": arguments, "parameterGroups": GROUPS}
    )
    optimizer = build_optimizer(network(), training, 0.1, CPU)
    schedule = build_schedule(training, 0.1, 12)
    for step in range(12):
        schedule.observe(1.0)
        rate = schedule.learning_rate(step, step // 3)
        set_learning_rate(optimizer, rate)
        assert [group["lr"] for group in optimizer.param_groups] == [
            rate * factor for factor in (1, 1, 0.01, 0.01, 0.02 / 0.1, 0.02 / 0.1)
        ]
        assert get_learning_rate(optimizer) == rate


def test_equal_to_torch_with_the_same_groups():
    """AdamW over a cosine schedule with three groups, by hand and by torch's LambdaLR-free loop."""
    training = TrainingConfig.model_validate({"learningRate": 0.1, "parameterGroups": GROUPS})
    torch.manual_seed(0)
    ours, theirs = network(), network()
    theirs.load_state_dict(ours.state_dict())
    optimizer = build_optimizer(ours, training, 0.1, CPU)
    schedule = build_schedule(training, 0.1, 20)
    by_hand = torch.optim.AdamW(
        [
            {"params": [theirs["head"].weight], "lr": 0.1, "weight_decay": 0.01},
            {"params": [theirs["head"].bias], "lr": 0.1, "weight_decay": 0.0},
            {"params": [theirs["backbone"][0].weight], "lr": 0.001, "weight_decay": 0.01},
            {"params": [theirs["backbone"][0].bias], "lr": 0.001, "weight_decay": 0.0},
            {"params": [theirs["backbone"][1].weight], "lr": 0.02, "weight_decay": 0.5},
            {"params": [theirs["backbone"][1].bias], "lr": 0.02, "weight_decay": 0.0},
        ]
    )
    begun = [group["lr"] for group in by_hand.param_groups]
    x = torch.randn(8, 4)
    for step in range(20):
        rate = schedule.learning_rate(step, 0)
        set_learning_rate(optimizer, rate)
        for group, first in zip(by_hand.param_groups, begun, strict=True):
            group["lr"] = first * rate / 0.1
        for model, steps in ((ours, optimizer), (theirs, by_hand)):
            steps.zero_grad()
            model["head"](model["backbone"](x)).square().sum().backward()
            steps.step()
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(left, right, rtol=1e-5, atol=1e-7)


def test_the_reported_rate_is_the_main_groups_even_when_that_is_empty(bench):
    groups = [{"match": "*", "learningRateFactor": 0.5}]
    training = {"epochs": 1, "learningRate": 0.01, "scheduler": "none", "reportEverySeconds": 0}
    run = bench.train(trainingConfig={**training, "parameterGroups": groups})
    assert run.of(EpochCompleted)[0].learning_rate == 0.01
    assert {step.learning_rate for step in run.of(Step)} == {0.01}
    plain = bench.train("plain", trainingConfig={**training, "learningRate": 0.005})
    for name, array in run.weights().items():
        assert (array == plain.weights()[name]).all(), name
