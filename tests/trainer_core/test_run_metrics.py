"""Metrics of a run: chosen by the task, named, or watched; the same figures under the same names in both engines."""

import numpy as np
import pytest

from schemas.events import Alert, EarlyStopTriggered, EpochCompleted, RunResolved
from schemas.metrics import METRICS, figures_of, metric_named, usual_metrics
from trainer_core.channel import Channel
from trainer_core.engines import sklearn as sklearn_engine
from trainer_core.failure import Failure
from trainer_core.stop import Stop

ONE_LOGIT = """
from torch import nn
def build_model():
    return nn.Linear(6, 1)
"""
FOREST = """
from sklearn.ensemble import RandomForestClassifier
model = RandomForestClassifier(n_estimators=20)
"""
RIDGE = "from sklearn.linear_model import Ridge\nmodel = Ridge()\n"
HINGE = "from sklearn.linear_model import SGDClassifier\nmodel = SGDClassifier()\n"

ALL = {
    task: [entry.name for entry in METRICS if task in entry.tasks]
    for task in ("classification", "binary", "regression")
}


def two_classes(bench, *, validated=(0, 1)):
    """Data of two classes; ``validated`` are those that the held-out samples have."""
    generator = np.random.default_rng(3)
    for name, classes in (("train", (0, 1)), ("val", validated)):
        y = np.resize(classes, 40).astype(np.int64)
        x = generator.normal(size=(40, 6)).astype(np.float32) + y[:, None]
        np.savez(bench.folder / f"{name}.npz", x=x, y=y)


def fit(bench, model, **changes):
    """Train with scikit-learn; what was said."""
    bench.write_model(model)
    assignment = bench.assignment(**changes).model_copy(update={"engine": "sklearn"})
    channel = Channel()
    sklearn_engine.train(assignment, channel, Stop())
    return channel.said


def of(said, kind):
    return [data for data in said if isinstance(data, kind)]


def test_the_task_chooses_and_what_is_chosen_is_said(bench):
    run = bench.train(trainingConfig={"epochs": 1})
    metrics = run.of(EpochCompleted)[0].metrics
    assert {name for name in metrics if name.startswith("val")} == {"valBalancedAccuracy", "valF1", "valMcc"}
    assert run.of(RunResolved)[0].resolved["trainingConfig"]["metrics"] == usual_metrics("classification", 3)


def test_five_guesses_count_from_ten_classes_on(bench):
    bench.write_data(train=100, validation=50, classes=10)
    bench.write_model("from torch import nn\ndef build_model():\n    return nn.Linear(6, 10)\n")
    row = bench.train(trainingConfig={"epochs": 1}).of(EpochCompleted)[0]
    assert row.val_accuracy <= row.metrics["valTop5Accuracy"] <= 1


def test_a_named_metric_comes_on_top(bench):
    metrics = bench.train(trainingConfig={"epochs": 1, "metrics": ["log_loss"]}).of(EpochCompleted)[0].metrics
    assert {"valLogLoss", "valF1"} < metrics.keys()


def test_log_loss_is_the_loss_without_smoothing(bench):
    row = bench.train(trainingConfig={"epochs": 1, "metrics": ["log_loss"]}).of(EpochCompleted)[0]
    assert row.metrics["valLogLoss"] == pytest.approx(row.val_loss, rel=1e-6)


def test_what_is_watched_is_measured(bench):
    stopping = {"monitor": "valLogLoss", "patience": 1, "minDelta": 100}
    run = bench.train(trainingConfig={"epochs": 9, "earlyStopping": stopping}, checkpointConfig={"monitor": "valAuroc"})
    rows = run.of(EpochCompleted)
    assert run.of(EarlyStopTriggered)[0].monitor == "valLogLoss"
    best = [row.metrics["valAuroc"] for row in rows if row.is_best][-1]
    assert best == max(row.metrics["valAuroc"] for row in rows)


@pytest.mark.parametrize("engine", ["native", "sklearn"])
def test_a_metric_of_another_task_is_refused_with_a_fix(bench, engine):
    changes = {"trainingConfig": {"metrics": ["r2", "f1"]}}
    with pytest.raises(Failure, match=r"^r2 is a metric of regression, and this task is classification") as caught:
        bench.train(**changes) if engine == "native" else fit(bench, FOREST, **changes)
    error = caught.value.error
    assert (error.code, error.place.pointer) == ("input_invalid", "/trainingConfig/metrics")
    assert (error.fix[0].path, error.fix[0].value) == ("/trainingConfig/metrics", ["f1"])


def test_a_monitor_of_another_task_is_refused_before_training(bench):
    with pytest.raises(Failure, match=r"^valR2 is a figure of regression") as caught:
        bench.train(checkpointConfig={"monitor": "valR2"})
    assert caught.value.error.place.pointer == "/checkpointConfig/monitor"


@pytest.mark.parametrize("engine", ["native", "sklearn"])
def test_a_figure_that_no_run_has_is_refused_before_training(bench, engine):
    changes = {"checkpointConfig": {"monitor": "valF2"}}
    with pytest.raises(Failure, match=r"^No run has valF2; there are: valLoss, ") as caught:
        bench.train(**changes) if engine == "native" else fit(bench, FOREST, **changes)
    assert caught.value.error.fix[0].value == "valF1"


@pytest.mark.parametrize("engine", ["native", "sklearn"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_row_of_training_has_the_figures_that_may_be_watched(bench, engine, task):
    changes = {"trainingConfig": {"epochs": 1, "task": task}}
    source = FOREST if task == "classification" else RIDGE
    if task == "regression":
        bench.write_model(ONE_LOGIT)
    said = bench.train(**changes).said if engine == "native" else fit(bench, source, **changes)
    row = next(data for data in said if isinstance(data, EpochCompleted))
    seen = {*row.to_json(), *row.metrics}
    assert {name for name in seen if row.figure(name) is not None and name.startswith("train")} == {
        name for name in figures_of([task]) if name.startswith("train")
    }


def test_a_model_files_own_figure_may_have_a_metrics_name(bench):
    source = (bench.folder / "model.py").read_text()
    bench.write_model(f"{source}\ndef metrics(outputs, targets):\n    return {{'r2': 0.25}}\n")
    run = bench.train(trainingConfig={"epochs": 1}, checkpointConfig={"monitor": "valR2"})
    assert run.of(EpochCompleted)[0].metrics["valR2"] == 0.25


@pytest.mark.parametrize("engine", ["native", "sklearn"])
def test_one_held_out_class_is_never_the_best_and_never_a_crash(bench, engine):
    two_classes(bench, validated=(0,))
    changes = {
        "trainingConfig": {"epochs": 3, "task": "binary"},
        "checkpointConfig": {"monitor": "valAuroc"},
    }
    if engine == "native":
        bench.write_model(ONE_LOGIT)
        said = bench.train(**changes).said
    else:
        said = fit(bench, HINGE, **changes)
    rows = of(said, EpochCompleted)
    assert len(rows) == 3
    assert not any(row.is_best or "valAuroc" in row.metrics for row in rows)
    assert all(row.val_accuracy is not None for row in rows)
    told = [alert.message for alert in of(said, Alert) if alert.code == "figures_left_out"]
    assert len(told) == 1
    assert "valAuroc" in told[0]
    assert "one class" in told[0]


def test_a_figure_that_is_never_measured_ends_no_run_and_is_said_each_time(bench):
    """It uses up no patience: here there are three epochs, and patience for one."""
    two_classes(bench, validated=(0,))
    bench.write_model(ONE_LOGIT)
    stopping = {"monitor": "valAuroc", "patience": 1}
    run = bench.train(trainingConfig={"epochs": 3, "task": "binary", "earlyStopping": stopping})
    assert run.ending.state == "succeeded"
    assert [row.epoch for row in run.of(EpochCompleted)] == [1, 2, 3]
    told = [alert.evidence for alert in run.of(Alert) if alert.code == "monitor_not_measured"]
    assert told == [{"epoch": epoch, "monitor": "valAuroc"} for epoch in (1, 2, 3)]


def test_both_engines_speak_of_the_same_figures(bench):
    two_classes(bench)
    bench.write_model(ONE_LOGIT)
    changes = {"trainingConfig": {"epochs": 1, "task": "binary", "metrics": ALL["binary"]}}
    native = bench.train(**changes).of(EpochCompleted)[0]
    forest = of(fit(bench, FOREST, **changes), EpochCompleted)[0]
    wanted = {metric_named(name).row_name for name in ALL["binary"]} - {"valAccuracy"}
    assert wanted == native.metrics.keys() == forest.metrics.keys()


def test_a_forest_of_three_classes_is_measured_by_all(bench):
    row = of(fit(bench, FOREST, trainingConfig={"metrics": ALL["classification"]}), EpochCompleted)[0]
    missing = {"valTop3Accuracy", "valTop5Accuracy", "valTop10Accuracy"}
    wanted = {metric_named(name).row_name for name in ALL["classification"]} - missing - {"valAccuracy"}
    assert row.metrics.keys() == wanted
    assert row.metrics["valLogLoss"] == pytest.approx(row.val_loss)


def test_an_estimator_without_probabilities_is_ranked_by_its_decisions(bench):
    said = fit(bench, HINGE, trainingConfig={"epochs": 1, "metrics": ["roc_auc", "log_loss"]})
    metrics = of(said, EpochCompleted)[0].metrics
    assert 0.5 < metrics["valAuroc"] <= 1
    assert "valLogLoss" not in metrics
    assert any("valLogLoss: the estimator has no predict_proba" in alert.message for alert in of(said, Alert))


def test_a_regressor_is_measured_by_all(bench):
    generator = np.random.default_rng(0)
    for name in ("train", "val"):
        x = generator.normal(size=(40, 6)).astype(np.float32)
        np.savez(bench.folder / f"{name}.npz", x=x, y=x.sum(axis=1) + generator.normal(size=40).astype(np.float32))
    row = of(fit(bench, RIDGE, trainingConfig={"metrics": ALL["regression"]}), EpochCompleted)[0]
    held_out = {name for name in row.metrics if name.startswith("val")}
    assert held_out == {metric_named(name).row_name for name in ALL["regression"]}
    assert row.metrics["valMse"] == pytest.approx(row.val_loss) == pytest.approx(row.metrics["valRmse"] ** 2)
    assert 0.5 < row.metrics["valR2"] < 1
