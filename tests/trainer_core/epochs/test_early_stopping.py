"""Best and early stopping: what is better, what is missing, and what survives a resume."""

import json
import math

import pytest

from schemas.checkpointing import CheckpointConfig
from schemas.result import EpochRow
from schemas.training import TrainingConfig
from trainer_core.epochs.best import Best, build_best
from trainer_core.epochs.early_stopping import EarlyStop, build_early_stopping
from trainer_core.failure import Failure


def row(epoch: int, val_loss: float | None = None, **metrics: float) -> EpochRow:
    return EpochRow(epoch=epoch, train_loss=1.0, val_loss=val_loss, metrics=metrics)


def best(monitor: str | None = None, mode: str | None = None, stopping: dict[str, object] | None = None) -> Best:
    training = TrainingConfig.model_validate({"earlyStopping": stopping})
    return build_best(CheckpointConfig.model_validate({"monitor": monitor, "mode": mode}), training, True)


def stop(**stopping: object) -> EarlyStop:
    return build_early_stopping(TrainingConfig.model_validate({"earlyStopping": stopping}), True)


def test_the_best_is_the_first_of_equals() -> None:
    judge = best()
    assert [judge.observe(row(epoch, loss)) for epoch, loss in enumerate([2.0, 1.0, 1.0, 3.0, 0.5], 1)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert (judge.epoch, judge.value, judge.monitor, judge.mode) == (5, 0.5, "valLoss", "min")


def test_a_missing_figure_is_never_the_best() -> None:
    judge = best()
    assert not judge.observe(row(1))
    for value in (math.nan, -math.inf):
        assert not judge.observe(row(1).model_copy(update={"val_loss": value})), "nor is the first one"
    assert judge.epoch is None
    assert judge.observe(row(2, 9.0))
    assert not judge.observe(row(3))
    assert not judge.observe(row(4).model_copy(update={"val_loss": math.nan}))
    assert (judge.epoch, judge.value) == (2, 9.0)


def test_the_monitor_is_the_checkpoints_then_early_stoppings_then_the_loss() -> None:
    stopping: dict[str, object] = {"monitor": "valF1"}
    assert best("valR2", stopping=stopping).monitor == "valR2"
    assert (best(stopping=stopping).monitor, best(stopping=stopping).mode) == ("valF1", "max")
    assert best().monitor == "valLoss"
    assert build_best(CheckpointConfig(), TrainingConfig(), False).monitor == "trainLoss"
    assert best("valF1", "min").mode == "min"


def test_which_way_is_better_is_as_asked_where_the_figure_is_not_known() -> None:
    """More is better of a figure of the model file, unless something is said of it."""
    stopping: dict[str, object] = {"monitor": "valOwn", "mode": "min"}
    assert best("valOwn").mode == "max"
    assert best(stopping=stopping).mode == "min"
    assert best(mode="max", stopping=stopping).mode == "max"


def test_best_goes_on_from_its_state_unless_the_question_has_changed() -> None:
    judge = best()
    judge.observe(row(3, 0.2))
    state = json.loads(json.dumps(judge.state()))
    resumed, other = best(), best("valF1")
    resumed.restore(state)
    other.restore(state)
    assert not resumed.observe(row(4, 0.3))
    assert resumed.epoch == 3
    assert other.observe(row(4, 0.3, valF1=0.1))


def test_patience_counts_epochs_without_improvement() -> None:
    early = stop(patience=2)
    verdicts = [early.observe(row(epoch, loss)) for epoch, loss in enumerate([1.0, 1.1, 0.9, 0.9, 0.95], 1)]
    assert verdicts == ["improved", "waiting", "improved", "waiting", "stop"]
    assert (early.best_epoch, early.patience, early.monitor) == (3, 2, "valLoss")


def test_min_delta_is_the_smallest_improvement() -> None:
    early = stop(patience=2, minDelta=0.1, monitor="valF1")
    assert [early.observe(row(epoch, 1.0, valF1=value)) for epoch, value in enumerate([0.5, 0.58, 0.65], 1)] == [
        "improved",
        "waiting",
        "improved",
    ]


def test_an_unmeasured_epoch_uses_up_no_patience() -> None:
    early = stop(patience=2)
    verdicts = [early.observe(row(epoch, loss)) for epoch, loss in enumerate([1.0, None, None, 2.0, 2.0], 1)]
    assert verdicts == ["improved", "unmeasured", "unmeasured", "waiting", "stop"]


def test_the_counter_survives_a_resume() -> None:
    early = stop(patience=3)
    for epoch, loss in enumerate([1.0, 1.1, 1.2], 1):
        early.observe(row(epoch, loss))
    resumed = stop(patience=3)
    resumed.restore(json.loads(json.dumps(early.state())))
    assert resumed.observe(row(4, 1.3)) == "stop"
    assert resumed.best_epoch == 1


def test_null_form_never_stops() -> None:
    never = build_early_stopping(TrainingConfig(), True)
    assert {never.observe(row(epoch)) for epoch in range(1, 50)} == {"waiting"}
    assert never.state() == {}
    stop().restore(never.state())


def test_a_monitor_that_nobody_computes_lists_the_figures_there_are() -> None:
    with pytest.raises(
        Failure, match=r"no figure 'valF2' after epoch 1; there are: trainLoss, valF1, valLoss\.$"
    ) as it:
        stop(monitor="valF2").observe(row(1, 1.0, valF1=0.5))
    error = it.value.error
    assert error.code == "input_invalid"
    assert error.place is not None
    assert error.place.pointer == "/trainingConfig/earlyStopping/monitor"
    with pytest.raises(Failure) as it:
        best("valF2").observe(row(1, 1.0))
    assert it.value.error.place is not None
    assert it.value.error.place.pointer == "/checkpointConfig/monitor"


def test_a_figure_that_was_there_before_is_only_unmeasured() -> None:
    early = stop(monitor="valOwn")
    assert early.observe(row(1, 1.0, valOwn=0.5)) == "improved"
    assert early.observe(row(2, 1.0)) == "unmeasured"


def test_a_figure_that_is_missing_where_nothing_was_measured_is_only_unmeasured() -> None:
    """The loss was not finite, so nobody knows yet whether the model file computes that figure."""
    assert stop(monitor="valOwn").observe(row(1)) == "unmeasured"


def test_a_figure_of_validation_needs_validation() -> None:
    training = TrainingConfig.model_validate({"earlyStopping": {"monitor": "valLoss"}})
    with pytest.raises(Failure, match="no validation samples"):
        build_early_stopping(training, False)
    with pytest.raises(Failure, match="no validation samples"):
        build_best(CheckpointConfig(), training, False)
