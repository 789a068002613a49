"""Each monitor speaks of what it is there for, and of nothing else; none forgets or dreams across a resume."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from schemas.events import Alert
from schemas.result import EpochRow
from trainer_core.channel import Channel
from trainer_core.monitors.curves import DeadStart, Overfitting, Plateau
from trainer_core.monitors.machine import LoaderBound, MemoryNearlyFull
from trainer_core.monitors.monitor import Monitor, Readings, Status
from trainer_core.monitors.rate import RateExhausted
from trainer_core.monitors.spikes import LossSpike, NormSpike
from trainer_core.monitors.watch import Watch, watch_estimator, watch_network
from trainer_core.monitors.window import Window


def noise(seed: int = 0, size: int = 100) -> list[float]:
    return np.random.default_rng(seed).normal(0, 0.1, size).tolist()


def read(
    losses: list[float], norms: list[float] | None = None, first: int = 1, counts: list[float] | None = None
) -> Readings:
    """Steps from number ``first`` on."""
    columns = (np.array(column, dtype=float) for column in (losses, norms or losses, counts or [1.0] * len(losses)))
    return Readings(np.arange(first, first + len(losses)), *columns)


def steps(monitor: Monitor, losses: list[float], norms: list[float] | None = None) -> list[int]:
    """The steps at which ``monitor`` speaks, whether it is shown them one by one, all together, or in parts."""
    norms, said = norms or losses, []
    kept = monitor.state()
    for size in (len(losses), 1, 7):
        monitor.restore(kept)
        parts = (read(losses[i : i + size], norms[i : i + size], i + 1) for i in range(0, len(losses), size))
        said.append([step for part in parts for step, _ in monitor.steps(part)])
    assert said == [said[0]] * 3
    return said[0]


def epochs(monitor: Monitor, train: list[float], validation: list[float | None], rate: float | None = 0.1) -> list[int]:
    """The epochs after which it speaks."""
    rows = [
        EpochRow(epoch=number, train_loss=one, val_loss=other, learning_rate=rate)
        for number, (one, other) in enumerate(zip(train, validation, strict=True), start=1)
    ]
    return [row.epoch for row in rows if monitor.epoch(row)]


def test_a_loss_over_twice_its_average_is_a_spike():
    calm = [1 + each for each in noise()]
    assert steps(LossSpike(), [*calm, 1.9, *calm]) == []
    assert steps(LossSpike(), [*calm, 4.0, *calm]) == [101]


def test_a_loss_that_scatters_by_factors_is_no_spike():
    scattered = np.exp(np.random.default_rng(0).normal(0, 0.8, 2000)).tolist()
    assert max(later / before for before, later in pairwise(scattered)) > 20
    assert steps(LossSpike(), scattered) == []


def test_twice_the_average_of_a_loss_near_zero_is_no_spike():
    falling = [math.exp(-step / 20) for step in range(400)]
    assert steps(LossSpike(), [*falling, falling[-1] * 1e6]) == []


def test_a_negative_loss_has_spikes_too():
    below = [-5 + each for each in noise()]
    assert steps(LossSpike(), [*below, -4.0, *below]) == []
    assert steps(LossSpike(), [*below, 1.0, *below]) == [101]


def test_a_loss_that_goes_through_zero_has_spikes_too():
    """It has no logarithm, and no ratio to an average that is next to nothing."""
    around = noise()
    assert min(around[:32]) < 0 < max(around[:32])
    assert steps(LossSpike(), [*around, 5.0, *around]) == [101]


def test_an_epochs_short_last_batch_is_passed_over():
    monitor = LossSpike()
    losses = [*(1 + each for each in noise()), 9.0, 9.0]
    found = monitor.steps(read(losses, counts=[*[64] * 100, 10, 64]))
    assert [step for step, _ in found] == [102]


def test_a_norm_over_ten_times_its_average_is_a_spike():
    calm = [1 + each for each in noise()]
    assert steps(NormSpike(), calm, [*calm[:-1], 8.0]) == []
    assert steps(NormSpike(), calm, [*calm[:-1], 30.0]) == [100]


def test_what_was_not_finite_is_left_to_others():
    calm = [1 + each for each in noise()]
    assert steps(LossSpike(), [math.nan] * 200) == []
    assert steps(LossSpike(), [*calm[:50], math.nan, *calm[50:], 9.0]) == [102]


def test_one_huge_value_leaves_no_trace_in_the_average():
    window = Window(4)
    for value in (1.0, 1e20, 1.0, 1.0, 1.0, 1.0):
        window.add(value)
    assert window.mean == 1.0


def test_overfitting_is_validation_that_rises_while_training_falls():
    train = [1 / epoch for epoch in range(1, 31)]
    rising = [0.5 + 0.03 * abs(epoch - 10) for epoch in range(1, 31)]
    first, *_ = epochs(Overfitting(), train, rising)
    assert 15 <= first <= 19
    assert epochs(Overfitting(), [0.7] * 30, rising) == []
    assert epochs(Overfitting(), train, [0.5 + 0.5 / epoch for epoch in range(1, 31)]) == []
    assert epochs(Overfitting(), train, [None] * 30) == []


def test_validation_that_only_jumps_about_is_overfitting_once_in_thirty_runs_at_most():
    train = [1 / epoch for epoch in range(1, 101)]
    said = [epochs(Overfitting(), train, [0.5 + 0.5 * each for each in noise(seed)]) for seed in range(30)]
    assert sum(map(bool, said)) <= 1


def test_a_plateau_is_a_loss_that_stays_at_a_rate_that_stays():
    falling = [1 / epoch for epoch in range(1, 21)]
    assert epochs(Plateau(50), [*falling, *[0.05] * 10], [None] * 30)[:1] == [29]
    assert epochs(Plateau(30), [0.97**epoch for epoch in range(30)], [None] * 30) == []
    assert epochs(Plateau(30), [1.0, *[0.01] * 29], [None] * 30) == []
    assert epochs(Plateau(30), [*falling[:9], *[0.1] * 11], [None] * 20)[:1] == [19]
    assert epochs(Plateau(20), [*falling[:9], *[0.1] * 11], [None] * 20) == []


def test_a_rate_that_was_lowered_makes_no_plateau():
    monitor = Plateau(100)
    rows = [EpochRow(epoch=epoch, train_loss=0.5, learning_rate=0.1 if epoch < 8 else 1e-4) for epoch in range(1, 40)]
    assert not any(monitor.epoch(row) for row in rows)


def test_a_start_without_gradient_or_without_change_is_dead():
    assert steps(DeadStart(), [1.0] * 30, [0.0] * 30) == [20]
    assert steps(DeadStart(), [1.0] * 30, [0.5] * 30) == []
    assert epochs(DeadStart(), [0.7, 0.7000001, 0.7, 0.7], [None] * 4) == [3]
    assert epochs(DeadStart(), [0.7, 0.699, 0.698, 0.697], [None] * 4) == []
    assert epochs(DeadStart(), [0.7, 0.6, 0.6, 0.6, 0.6], [None] * 5) == []


def test_a_warm_up_is_no_dead_start():
    monitor = DeadStart()
    assert not any(monitor.epoch(EpochRow(epoch=e, train_loss=0.7, learning_rate=e * 1e-9)) for e in range(1, 9))


@pytest.mark.parametrize(
    ("rate_at", "expected"),
    [
        (lambda done: 0.5 * (1 + math.cos(math.pi * done)), None),
        (lambda done: 1.0, None),
        (lambda done: 1 - done, None),
        (lambda done: 1e-5 ** (2 * done), 0.35),
        (lambda done: 1.0 if done < 0.5 else 0.0, 0.55),
    ],
    ids=["cosine", "constant", "linear", "exponential", "cut off"],
)
def test_a_rate_that_ends_before_the_run_is_said(rate_at, expected):
    monitor = RateExhausted()
    said = [
        step / 1000
        for step in range(1, 1001)
        if monitor.status(Status(step=step, total_steps=1000, learning_rate=rate_at(step / 1000)))
    ]
    assert (said[0] if said else None) == (expected and pytest.approx(expected, abs=0.01))


def test_memory_is_said_to_be_short_above_92_percent():
    monitor = MemoryNearlyFull()
    assert monitor.status(Status(1, 10, memory=91, memory_limit=100)) is None
    assert monitor.status(Status(1, 10, memory=93, memory_limit=100)) is not None
    assert monitor.status(Status(1, 10)) is None


def test_a_loop_that_waits_is_loader_bound_unless_the_device_was_behind():
    def said(seconds: list[float], share: float, behind: float = 0.0) -> list[bool]:
        monitor = LoaderBound(workers=2)
        made = (Status(1, 10, seconds=each, waited=share * each, behind=behind * each) for each in seconds)
        return [monitor.status(status) is not None for status in made]

    assert said([1.0] * 6, 0.5) == [False] * 5 + [True]
    assert said([1.0] * 12, 0.2) == [False] * 12
    assert said([1.0] * 12, 0.5, behind=0.4) == [False] * 12


def test_after_an_alert_a_monitor_rests_twice_as_long_each_time():
    channel = Channel()
    watch = Watch([LossSpike()], channel)
    losses = [9.0 if step % 50 == 0 else 1.0 + each for step, each in enumerate(noise(0, 4000), start=1)]
    watch.steps(read(losses))
    assert [alert.evidence["step"] for alert in channel.said] == [50, 250, 650, 1450, 3050]
    assert [alert.evidence.get("heldBack", 0) for alert in channel.said] == [0, 3, 7, 15, 31]


def test_a_restored_watch_goes_on_as_if_nothing_had_happened_since():
    def story(watch: Watch, first: int, last: int) -> None:
        for epoch in range(first, last):
            losses = [1 / epoch + abs(each) for each in noise(epoch, 40)]
            losses[20] *= 60 if epoch in (4, 9) else 1
            watch.steps(read(losses, first=40 * epoch))
            watch.status(Status(40 * epoch, 800, 0.1 * 0.3**epoch, seconds=2.0, waited=1.0))
            watch.epoch(EpochRow(epoch=epoch, train_loss=1 / epoch, val_loss=abs(epoch - 6) / 5, learning_rate=0.1))

    def build() -> tuple[Watch, list[Alert]]:
        channel = Channel()
        return watch_network(channel, epochs=20, validates=True, workers=0), channel.said

    whole, expected = build()
    story(whole, 1, 20)
    first, said = build()
    story(first, 1, 6)
    kept = json.loads(json.dumps(first.state()))
    before = len(said)
    story(first, 6, 9)
    del said[before:]
    first.restore(kept)
    story(first, 6, 20)
    second, rest = build()
    second.restore(kept)
    story(second, 6, 20)
    assert {alert.code for alert in expected} >= {
        "loss_spike",
        "overfitting",
        "loader_bound",
        "learning_rate_exhausted",
    }
    assert said == expected
    assert said[before:] == rest


def test_a_state_of_other_monitors_is_left_aside():
    watch = watch_network(Channel(), epochs=2, validates=False, workers=0)
    watch.restore(watch_estimator(Channel(), epochs=2, validates=True).state())
    assert "overfitting" not in watch.state()["monitors"]
