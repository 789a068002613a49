"""Metrics in a request: other spellings are mended, and those of another task are refused with what fits."""

from pathlib import Path
from typing import Any

import pytest

from app.gate.gate import Examined, Gate
from app.gate.patches import look
from app.settings import Settings
from tests.app.workspace import changed, make_workspace

METRICS = ("trainingConfig", "metrics")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    workspace: Path = make_workspace(tmp_path_factory.mktemp("workspace"))
    return Gate(Settings(home=workspace.parent / "home", workspace=workspace))


def examine(gate: Gate, metrics: Any, task: str | None = None) -> Examined:
    document = changed(*METRICS, metrics)
    document = document if task is None else changed("trainingConfig", "task", task, base=document)
    return gate.examine(document, "schema")


def test_metrics_that_fit_pass(gate: Gate) -> None:
    assert examine(gate, ["roc_auc", "f1_weighted"], "classification").request is not None
    assert examine(gate, ["r2"]).request is not None


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("auc", "roc_auc"),
        ("MCC", "matthews_corrcoef"),
        ("f1-score", "f1"),
        ("mae", "mean_absolute_error"),
        ("valAuroc", "roc_auc"),
        ("PR-AUC", "average_precision"),
        ("balanced_acuracy", "balanced_accuracy"),
    ],
)
def test_another_spelling_is_named_and_mended(gate: Gate, wrong: str, right: str) -> None:
    (error,) = examine(gate, ["accuracy", wrong]).errors
    assert (error.pointer, error.code, error.suggestion) == ("/trainingConfig/metrics/1", "not_allowed", right)
    assert look(examine(gate, ["accuracy", wrong]).suggested_input, METRICS) == ["accuracy", right]


def test_a_metric_of_another_task_is_refused(gate: Gate) -> None:
    found = examine(gate, ["r2", "f1", "mean_absolute_error"], "binary")
    (error,) = found.errors
    assert (error.pointer, error.code, error.got) == ("/trainingConfig/metrics/0", "conflict", "r2")
    assert error.allowed is not None
    assert "roc_auc" in error.allowed
    assert look(found.suggested_input, METRICS) == ["f1"]


@pytest.mark.parametrize(("wrong", "right"), [("roc_auc", "valAuroc"), ("val_f1", "valF1"), ("mcc", "valMcc")])
def test_a_monitor_may_be_meant_by_its_metric(gate: Gate, wrong: str, right: str) -> None:
    found = gate.examine(changed("checkpointConfig", "monitor", wrong), "schema")
    assert look(found.suggested_input, ("checkpointConfig", "monitor")) == right
