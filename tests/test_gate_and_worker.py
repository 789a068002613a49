"""The gate lets a setting in if and only if the worker can build with it: the two may not drift apart."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from app.gate.choices import choice_errors
from app.gate.metric_choices import figure_errors
from schemas.arguments import Entry
from schemas.losses import LOSSES, Task
from schemas.metrics import figures_of
from schemas.optimizers import OPTIMIZERS
from schemas.request import TrainingRequest
from schemas.schedules import SCHEDULES
from schemas.training import TrainingConfig
from tests.wrong_values import values_around
from trainer_core.epochs.chosen_metrics import choose_metrics
from trainer_core.failure import Failure
from trainer_core.loop.losses import build_loss
from trainer_core.loop.optimizers import build_optimizer
from trainer_core.loop.schedules import build_schedule

CPU = torch.device("cpu")
TASKS: tuple[Task, ...] = ("classification", "binary", "regression")
KEYS = [
    ("optimizer", "optimizerArgs", OPTIMIZERS),
    ("scheduler", "schedulerArgs", SCHEDULES),
    ("loss", "lossArgs", LOSSES),
]
ARGUMENTS = [
    pytest.param(key, arguments, entry, argument.name, id=f"{entry.name}.{argument.name}")
    for key, arguments, entries in KEYS
    for entry in entries
    for argument in entry.arguments
]
ENTRIES = [pytest.param(key, arguments, entry, id=entry.name) for key, arguments, entries in KEYS for entry in entries]


def gate_refuses(training: dict[str, Any]) -> bool:
    return bool(choice_errors({"trainingConfig": training}))


def worker_refuses(training: dict[str, Any], task: Any = None) -> bool:
    """Whether a part cannot be made; those that are made take a step."""
    try:
        _build(TrainingConfig.model_validate(training), task)
    except Failure as failure:
        if failure.error.code != "input_invalid" or failure.error.place is None:
            raise
        return True
    return False


def _build(training: TrainingConfig, task: Any) -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = build_optimizer(model, training, 0.01, CPU)
    schedule = build_schedule(training, 0.01, 20)
    if task is not None:
        build_loss(training, task, None, CPU)
    for step in range(20):
        rate = schedule.learning_rate(step, step // 2)
        assert 0 <= rate < math.inf
    model(torch.ones(2, 2)).square().mean().backward()
    optimizer.step()
    schedule.observe(1.0)


def usual(entry: Entry) -> dict[str, Any]:
    """The arguments that ``entry`` cannot do without."""
    return {argument.name: argument.proposed(10) for argument in entry.arguments if argument.proposed}


def task_of(entry: Entry) -> str | None:
    return getattr(entry, "tasks", (None,))[0]


@pytest.mark.parametrize(("key", "arguments", "entry", "name"), ARGUMENTS)
def test_of_any_value_of_any_argument_gate_and_worker_think_alike(
    key: str, arguments: str, entry: Entry, name: str
) -> None:
    argument = entry.argument(name)
    assert argument is not None
    verdicts = set()
    for value in (*values_around(argument.kind), None):
        training = {key: entry.name, arguments: {**usual(entry), name: value}}
        refused = gate_refuses(training)
        assert worker_refuses(training, task_of(entry)) == refused, value
        verdicts.add(refused)
    assert verdicts == {True, False}


@pytest.mark.parametrize(("key", "arguments", "entry"), ENTRIES)
def test_of_missing_and_unknown_arguments_gate_and_worker_think_alike(key: str, arguments: str, entry: Entry) -> None:
    assert not gate_refuses({key: entry.name, arguments: usual(entry)})
    for given in ({}, {"nothing": 1}, {"nothing": None}, {"lr": 0.1}, {name: None for name in entry.argument_names}):
        training = {key: entry.name, arguments: given}
        assert worker_refuses(training, task_of(entry)) == gate_refuses(training), given


def _combinations() -> list[dict[str, Any]]:
    switches = itertools.product((None, True, False), (None, 0, 0.9), (None, 0, 0.1))
    return [
        *({"optimizer": entry.name, "weightDecay": decay} for entry in OPTIMIZERS for decay in (0, 0.1)),
        *(
            {"scheduler": entry.name, "schedulerArgs": usual(entry), **warmup}
            for entry in SCHEDULES
            for warmup in (
                {"warmupSteps": 0},
                {"warmupSteps": 3},
                {"warmupRatio": 0},
                {"warmupRatio": 0.001},
                {"warmupRatio": 0.5},
                {"warmupSteps": 3, "warmupRatio": 0.1},
            )
        ),
        *(
            {"loss": entry.name, "task": task, "labelSmoothing": smoothing}
            for entry in LOSSES
            for task in TASKS
            for smoothing in (0, 0.1)
        ),
        *({"task": task, "labelSmoothing": smoothing} for task in TASKS for smoothing in (0, 0.1)),
        *(
            {
                "optimizer": "SGD",
                "optimizerArgs": {"nesterov": nesterov, "momentum": momentum, "dampening": dampening},
            }
            for nesterov, momentum, dampening in switches
        ),
        *({key: name} for key, _, _ in KEYS for name in ("no such name", "LBFGS")),
    ]


@pytest.mark.parametrize("training", _combinations(), ids=str)
def test_of_combinations_gate_and_worker_think_alike(training: dict[str, Any]) -> None:
    task = training.get("task", "classification" if "loss" in training else None)
    assert worker_refuses(training, task) == gate_refuses(training)


FIGURES = [*figures_of(TASKS), "valF2", "trainF1", "valSharpness", "trainSharpness"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("own", [True, False])
def test_of_any_figure_to_watch_gate_and_worker_think_alike(task: Task, own: bool) -> None:
    for figure in FIGURES:
        document: dict[str, Any] = {
            "modelPath": "model.py",
            "dataConfig": {"trainPath": "data"},
            "trainingConfig": {"task": task},
            "checkpointConfig": {"monitor": figure},
        }
        refused = bool(list(figure_errors(document, "native", own)))
        request = TrainingRequest.model_validate(document)
        if not refused:
            choose_metrics(request, task, 3, has_own=own)
            continue
        with pytest.raises(Failure) as caught:
            choose_metrics(request, task, 3, has_own=own)
        assert caught.value.error.fix is not None, figure
        assert caught.value.error.fix[0].value in figures_of([task])
