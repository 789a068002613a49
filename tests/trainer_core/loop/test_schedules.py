"""Schedules: over whole runs the same rates as torch.optim.lr_scheduler, and from any step on by themselves."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler as torch_schedules

from schemas.checkpointing import CheckpointConfig
from schemas.schedules import LARGEST_RATE, SCHEDULES
from schemas.training import TrainingConfig
from trainer_core.epochs.best import build_best
from trainer_core.failure import Failure
from trainer_core.loop.schedules import Schedule, build_schedule, watched_figure

RATE = 0.3
EPOCHS, STEPS = 12, 17
TOTAL = EPOCHS * STEPS

Making = Callable[[torch.optim.Optimizer], torch_schedules.LRScheduler]


def build(name: str, arguments: dict[str, object] | None = None, **options: object) -> Schedule:
    document = {"scheduler": name, "schedulerArgs": arguments or {}, **options}
    return build_schedule(TrainingConfig.model_validate(document), RATE, TOTAL)


def rates(schedule: Schedule) -> list[float]:
    return [schedule.learning_rate(step, step // STEPS) for step in range(TOTAL)]


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def torch_rates(make: Making, per_epoch: bool = False, warmup: int = 0) -> list[float]:
    """Rates of torch's scheduler; after a warm-up for one in steps, chained with it for one in epochs."""
    over = optimizer()
    chained = _warmup(over, warmup) if per_epoch and warmup else None
    if warmup and not per_epoch:
        parts = [_warmup(over, warmup), make(over)]
        schedule: torch_schedules.LRScheduler = torch_schedules.SequentialLR(over, parts, [warmup])
    else:
        schedule = make(over)
    found = []
    for step in range(TOTAL):
        found.append(over.param_groups[0]["lr"])
        over.step()
        if chained:
            chained.step()
        if step + 1 < TOTAL and (not per_epoch or (step + 1) % STEPS == 0):
            schedule.step()
    return found


def _warmup(over: torch.optim.Optimizer, steps: int) -> torch_schedules.LRScheduler:
    return torch_schedules.LinearLR(over, start_factor=1 / (steps + 1), total_iters=steps)


IN_STEPS = [
    ("constant", {}, lambda total: lambda o: torch_schedules.ConstantLR(o, factor=1.0)),
    ("linear", {}, lambda total: lambda o: torch_schedules.LinearLR(o, 1.0, 0.0, total)),
    ("LinearLR", {"end_factor": 0.2}, lambda total: lambda o: torch_schedules.LinearLR(o, 1.0, 0.2, total)),
    ("polynomial", {}, lambda total: lambda o: torch_schedules.PolynomialLR(o, total)),
    ("poly", {"power": 2.5}, lambda total: lambda o: torch_schedules.PolynomialLR(o, total, 2.5)),
    ("cosine", {}, lambda total: lambda o: torch_schedules.CosineAnnealingLR(o, total)),
    (
        "CosineAnnealingLR",
        {"eta_min": 0.01},
        lambda total: lambda o: torch_schedules.CosineAnnealingLR(o, total, 0.01),
    ),
]


@pytest.mark.parametrize("warmup", [0, 1, 20])
@pytest.mark.parametrize(("name", "arguments", "make"), IN_STEPS)
def test_schedules_in_steps_equal_torchs_after_a_warm_up(
    name: str, arguments: dict[str, object], make: Callable[[int], Making], warmup: int
) -> None:
    ours = rates(build(name, arguments, warmupSteps=warmup))
    assert ours == pytest.approx(torch_rates(make(TOTAL - warmup), warmup=warmup), rel=1e-9)


@pytest.mark.parametrize("warmup", [0, 20])
@pytest.mark.parametrize(
    ("name", "arguments", "make"),
    [
        ("StepLR", {"step_size": 3}, lambda o: torch_schedules.StepLR(o, 3)),
        ("step", {"step_size": 5, "gamma": 0.7}, lambda o: torch_schedules.StepLR(o, 5, 0.7)),
        ("MultiStepLR", {"milestones": [7, 2, 7]}, lambda o: torch_schedules.MultiStepLR(o, [2, 7, 7])),
        ("exponential", {"gamma": 0.9}, lambda o: torch_schedules.ExponentialLR(o, 0.9)),
    ],
)
def test_schedules_in_epochs_equal_torchs_chained_with_a_warm_up(
    name: str, arguments: dict[str, object], make: Making, warmup: int
) -> None:
    ours = rates(build(name, arguments, warmupSteps=warmup))
    assert ours == pytest.approx(torch_rates(make, per_epoch=True, warmup=warmup), rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "make"),
    [
        ({"T_0": 4}, lambda o: torch_schedules.CosineAnnealingWarmRestarts(o, 4)),
        (
            {"T_0": 2, "T_mult": 2, "eta_min": 0.02},
            lambda o: torch_schedules.CosineAnnealingWarmRestarts(o, 2, 2, 0.02),
        ),
    ],
)
def test_warm_restarts_equal_torchs(arguments: dict[str, object], make: Making) -> None:
    assert rates(build("CosineAnnealingWarmRestarts", arguments)) == pytest.approx(
        torch_rates(make, per_epoch=True), rel=1e-9
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"max_lr": 1.5, "pct_start": 0.1, "anneal_strategy": "linear"},
        {"three_phase": True, "div_factor": 10.0, "final_div_factor": 100.0},
        {"pct_start": 0.0},
        {"pct_start": 1.0},
        {"pct_start": 0.001},
    ],
)
def test_one_cycle_equals_torchs(arguments: dict[str, float]) -> None:
    def make(over: torch.optim.Optimizer) -> torch_schedules.LRScheduler:
        options: dict[str, object] = {"max_lr": RATE, **arguments}
        return torch_schedules.OneCycleLR(over, total_steps=TOTAL, cycle_momentum=False, **options)

    assert rates(build("OneCycleLR", arguments)) == pytest.approx(torch_rates(make), rel=1e-9)


def test_a_warm_up_before_one_cycle_rises_to_its_first_rate() -> None:
    """torch has no such chain: OneCycleLR takes the rate it finds for its own. The cycle is torch's over the steps left."""
    over = optimizer()
    cycle = torch_schedules.OneCycleLR(over, max_lr=RATE, total_steps=TOTAL - 20, cycle_momentum=False)
    expected = [over.param_groups[0]["lr"]]
    for _ in range(TOTAL - 21):
        over.step()
        cycle.step()
        expected.append(over.param_groups[0]["lr"])
    ours = rates(build("OneCycleLR", {}, warmupSteps=20))
    assert ours[:20] == pytest.approx([expected[0] * (step + 1) / 21 for step in range(20)], rel=1e-9)
    assert ours[20:] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("total", [1, 2, 10])
def test_one_cycle_has_a_rate_for_runs_where_torch_divides_by_zero(total: int) -> None:
    training = TrainingConfig.model_validate({"scheduler": "OneCycleLR", "schedulerArgs": {"pct_start": 0.1}})
    schedule = build_schedule(training, RATE, total)
    assert all(0 < schedule.learning_rate(step, 0) <= RATE for step in range(total))


@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 1},
        {"patience": 0, "factor": 0.5, "cooldown": 2},
        {"patience": 0, "threshold": 0.1, "threshold_mode": "abs", "min_lr": 0.05},
        {"mode": "max", "patience": 1, "threshold": 0.01},
    ],
)
def test_plateau_equals_torchs(arguments: dict[str, object]) -> None:
    figures = [1.0, 0.8, 0.79, 0.79, 0.9, 0.5, 0.5, 0.49999, 0.6, 0.4, 0.41, 0.42, 0.43, 0.44, 0.45, 0.46]
    over = optimizer()
    theirs = torch_schedules.ReduceLROnPlateau(over, **arguments)
    ours = build("plateau", arguments)
    for epoch, figure in enumerate(figures):
        assert ours.learning_rate(epoch * STEPS, epoch) == pytest.approx(over.param_groups[0]["lr"], rel=1e-9)
        theirs.step(figure)
        ours.observe(figure)


def test_a_missing_figure_uses_up_no_patience() -> None:
    schedule = build("ReduceLROnPlateau", {"patience": 1})
    for figure in (1.0, None, math.nan, None, math.nan, 1.0):
        schedule.observe(figure)
    assert schedule.learning_rate(0, 6) == RATE
    schedule.observe(1.0)
    assert schedule.learning_rate(0, 7) == pytest.approx(RATE / 10)


def test_a_constant_negative_figure_is_no_improvement() -> None:
    schedule = build("ReduceLROnPlateau", {"patience": 0, "mode": "max"})
    schedule.observe(-1.0)
    schedule.observe(-1.0)
    assert schedule.learning_rate(0, 2) == pytest.approx(RATE / 10)


@pytest.mark.parametrize(
    ("arguments", "monitor", "validates", "expected"),
    [
        ({}, None, True, "valLoss"),
        ({}, None, False, "trainLoss"),
        ({"mode": "max"}, "valF1", True, "valF1"),
        ({}, "valF1", True, "valLoss"),
        ({}, "trainAccuracy", False, "trainLoss"),
    ],
)
def test_plateau_watches_the_best_epochs_figure_where_both_mean_the_same_way(
    arguments: dict[str, object], monitor: str | None, validates: bool, expected: str
) -> None:
    training = TrainingConfig.model_validate({"scheduler": "plateau", "schedulerArgs": arguments})
    best = build_best(CheckpointConfig(monitor=monitor), training, validates)
    assert watched_figure(training, best, validates) == expected


def test_plateau_goes_on_from_its_state() -> None:
    figures = [1.0, 1.1, 1.2, 0.9, 1.0, 1.0, 1.0, 1.0]
    straight, resumed = (build("plateau", {"patience": 1}) for _ in range(2))
    for figure in figures:
        straight.observe(figure)
        fresh = build("plateau", {"patience": 1})
        fresh.restore(resumed.state())
        fresh.observe(figure)
        resumed = fresh
        assert resumed.learning_rate(9, 9) == straight.learning_rate(9, 9)


def test_every_schedule_of_the_table_can_be_built() -> None:
    for entry in SCHEDULES:
        for spelling in (entry.name, *entry.aliases):
            wanted = {item.name: item.proposed(EPOCHS) for item in entry.arguments if item.proposed}
            schedule = build(spelling, wanted)
            assert schedule.warmup_steps == (TOTAL // 10 if entry.default_warmup else 0)
            assert all(math.isfinite(rate) and rate >= 0 for rate in rates(schedule))


@pytest.mark.parametrize(("name", "arguments"), [("exponential", {}), ("StepLR", {"step_size": 1})])
def test_a_rate_that_grows_ends_at_the_largest_that_a_request_may_name(name: str, arguments: dict[str, object]) -> None:
    schedule = build(name, {"gamma": 10.0, **arguments}, warmupSteps=0)
    found = [schedule.learning_rate(0, epoch) for epoch in (0, 1, 2, 3, 7, 1_000_000)]
    assert found == pytest.approx([RATE, RATE * 10, RATE * 100, RATE * 1000, LARGEST_RATE, LARGEST_RATE])


def test_warm_up_by_ratio_and_by_default() -> None:
    assert build("constant", warmupRatio=0.25).warmup_steps == TOTAL // 4
    assert build("constant").warmup_steps == 0
    long = build_schedule(TrainingConfig(), RATE, 1_000_000)
    assert long.warmup_steps == 2000
    assert long.learning_rate(2000, 2) == RATE
    assert build("cosine", warmupSteps=10 * TOTAL).warmup_steps == TOTAL


def test_the_rate_stays_after_the_last_step() -> None:
    for name in ("cosine", "linear", "polynomial", "OneCycleLR"):
        schedule = build(name)
        assert schedule.learning_rate(TOTAL + 50, 99) == schedule.learning_rate(TOTAL + 500, 99)
        assert schedule.learning_rate(TOTAL + 50, 99) <= schedule.learning_rate(TOTAL - 1, EPOCHS - 1)


@pytest.mark.parametrize(
    ("document", "pointer", "says"),
    [
        ({"scheduler": "cosin"}, "/scheduler", "There is no schedule 'cosin'"),
        ({"scheduler": "StepLR"}, "/schedulerArgs/step_size", "needs the argument 'step_size'"),
        (
            {"scheduler": "StepLR", "schedulerArgs": {"step_size": 2, "gama": 1}},
            "/schedulerArgs/gama",
            "did you mean gamma?",
        ),
        (
            {"scheduler": "StepLR", "schedulerArgs": {"step_size": 2.5}},
            "/schedulerArgs/step_size",
            "a whole number of 1 or more, not 2.5",
        ),
        ({"scheduler": "cosine", "schedulerArgs": {"eta_min": "low"}}, "/schedulerArgs/eta_min", "not 'low'"),
        ({"scheduler": "plateau", "schedulerArgs": {"factor": 1}}, "/schedulerArgs/factor", "less than 1"),
        (
            {"scheduler": "plateau", "schedulerArgs": {"mode": "best"}},
            "/schedulerArgs/mode",
            "one of min, max",
        ),
        ({"scheduler": "MultiStepLR", "schedulerArgs": {"milestones": 3}}, "/schedulerArgs/milestones", "a list"),
        ({"warmupSteps": 5, "warmupRatio": 0.1}, "/warmupRatio", "give one"),
    ],
)
def test_wrong_definitions_are_refused_with_their_place(document: dict[str, object], pointer: str, says: str) -> None:
    with pytest.raises(Failure) as caught:
        build_schedule(TrainingConfig.model_validate(document), RATE, TOTAL)
    error = caught.value.error
    assert error.code == "input_invalid"
    assert error.place is not None
    assert error.place.pointer == "/trainingConfig" + pointer
    assert says in error.message
