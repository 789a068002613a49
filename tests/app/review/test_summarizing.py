"""What a run came to: the verdict on its curve, the cost of what came after the best, and where the time went."""

import pytest

from app.review.facts import Facts, Spent
from app.review.summarizing import budget, judge, summarize
from schemas.events import CheckpointSaved, EpochStarted, Event, EventData, JobStarted
from schemas.result import EpochRow


def facts(train: list[float], validation: list[float | None] | None = None, best: int | None = None, **known) -> Facts:
    rates = known.pop("rates", [0.1] * len(train))
    metrics = known.pop("metrics", {})
    made = [
        EpochRow(
            epoch=epoch,
            step=5 * epoch,
            train_loss=loss,
            val_loss=validation[epoch - 1] if validation else None,
            learning_rate=rates[epoch - 1],
            metrics=metrics,
            seconds=2.0,
            data_wait_seconds=0.5,
            evaluation_seconds=0.25,
            samples_per_second=100.0 + epoch,
        )
        for epoch, loss in enumerate(train, start=1)
    ]
    return Facts(state="succeeded", rows=made, best_epoch=best, resolved={}, **known)


FALLING = [1 / epoch for epoch in range(1, 11)]


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        (facts(FALLING, [0.8, 0.6, 0.5, 0.52, 0.55, 0.6, 0.66, 0.7, 0.75, 0.8]), "overfitting"),
        (facts(FALLING, FALLING), "improving"),
        (facts(FALLING, [0.8, 0.6, 0.5, 0.46, 0.44, 0.43, 0.425, 0.424, 0.4235, 0.423]), "converged"),
        (facts([0.5] * 10, [0.8, 0.6, 0.5, 0.52, 0.55, 0.6, 0.66, 0.7, 0.75, 0.8]), "plateau"),
        (facts([1.0, 0.5, *[0.4] * 8]), "plateau"),
        (facts([1.0, 0.5, *[0.4] * 8], rates=[0.1 * (10 - n) / 10 for n in range(10)]), "converged"),
        (facts([0.5, 0.4, 0.3]), "unclear"),
        (facts(FALLING, [None] * 10), "improving"),
        # Near 0 a curve is noisy by its own measure, and not by that of where it began.
        (facts(FALLING, [0.5, 0.07, 0.04, 0.02, 0.0105, 0.013, 0.011, 0.0118, 0.0113, 0.0111]), "converged"),
        (facts([0.69] * 10, [0.69] * 10, metrics={"valMcc": 0.04}), "not_learning"),
        (facts([0.69] * 10, [0.69] * 10, metrics={"valMcc": 0.4}), "plateau"),
        (facts([2.0] * 10, [2.0] * 10, metrics={"valR2": -0.1}), "not_learning"),
        (facts([2.0] * 10, [2.0] * 10, alerts=frozenset({"dead_start"})), "not_learning"),
        (facts([2.0] * 10, [2.0] * 10, metrics={"valR2": 0.8}, alerts=frozenset({"dead_start"})), "plateau"),
    ],
)
def test_the_verdict_on_a_curve(curve: Facts, verdict: str):
    assert judge(curve) == verdict


def test_what_came_after_the_best_epoch_and_what_it_cost():
    summary = summarize(facts(FALLING, [0.8, 0.6, 0.5, 0.52, 0.55, 0.6, 0.66, 0.7, 0.75, 0.8], best=3))
    assert (summary.best_epoch, summary.best_step, summary.total_steps) == (3, 15, 50)
    assert (summary.epochs_after_best, summary.seconds_after_best, summary.share_after_best) == (7, 14.0, 0.7)
    assert summary.generalization_gap == pytest.approx(0.5 - 1 / 3)
    assert (summary.best_val_loss, summary.final_train_loss, summary.samples_per_second) == (0.5, 0.1, 105.5)


def test_a_run_without_an_epoch_has_no_summary():
    assert summarize(facts([])) is None


def test_the_parts_of_the_time_add_up():
    time = budget(facts(FALLING, spent=Spent(start_up=4.0, checkpoints=3.0, in_epochs=1.0)))
    assert (time.start_up, time.data, time.evaluation, time.checkpoints) == (4.0, 5.0, 2.5, 3.0)
    assert time.compute == pytest.approx(20 - 5 - 2.5 - 1)
    assert time.bound == "compute"


def test_the_largest_part_beside_computing_is_named_from_30_percent_on():
    assert budget(facts(FALLING, spent=Spent(start_up=20.0))).bound == "startUp"
    assert budget(facts(FALLING, spent=Spent(checkpoints=15.0, in_epochs=12.0))).bound == "checkpoints"


def test_the_start_and_the_checkpoints_of_every_attempt_count():
    def said(*events: tuple[int, EventData]) -> Spent:
        spent = Spent()
        for seq, (second, data) in enumerate(events):
            time = f"2026-01-02T03:04:{second:02}.000Z"
            spent.take(Event(seq=seq, type=data.event_type, time=time, job_id="j", attempt=1, data=data.to_json()))
        return spent

    def saved(kind: str, seconds: float) -> CheckpointSaved:
        return CheckpointSaved(
            path="/c", kind=kind, epoch=1, step=1, bytes=1, sha256="", seconds=9 * seconds, stall_seconds=seconds
        )

    started, epoch = (
        JobStarted(pid=1, engine="native", devices=[], versions={}),
        EpochStarted(epoch=1, epochs=2, steps=1),
    )
    spent = said(
        (0, started),
        (3, epoch),
        (5, saved("step", 0.5)),
        (6, epoch),
        (10, started),
        (12, epoch),
        (13, saved("final", 1.0)),
    )
    assert (spent.start_up, spent.checkpoints, spent.in_epochs) == (5.0, 1.5, 0.5)
