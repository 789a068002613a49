"""Metrics and figures to watch in a request: other spellings are mended, and what no run of the task has is refused with what
fits."""

from pathlib import Path
from typing import Any

import pytest

from app.gate.gate import Examined, Gate
from app.gate.patches import look
from app.settings import Settings
from tests.app.workspace import changed, make_workspace

METRICS = ("trainingConfig", "metrics")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def gate(workspace: Path) -> Gate:
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
    first = "r2" if right == "mean_absolute_error" else "accuracy"
    (error,) = examine(gate, [first, wrong]).errors
    assert (error.pointer, error.code, error.suggestion) == ("/trainingConfig/metrics/1", "not_allowed", right)
    assert look(examine(gate, [first, wrong]).suggested_input, METRICS) == [first, right]


def test_a_metric_of_another_task_is_refused(gate: Gate) -> None:
    found = examine(gate, ["r2", "f1", "mean_absolute_error"], "binary")
    (error,) = found.errors
    assert (error.pointer, error.code, error.got) == ("/trainingConfig/metrics/0", "conflict", "r2")
    assert error.allowed is not None
    assert "roc_auc" in error.allowed
    assert look(found.suggested_input, METRICS) == ["f1"]


def test_metrics_without_a_task_in_common_are_refused(gate: Gate) -> None:
    found = examine(gate, ["f1", "r2", "accuracy"])
    (error,) = found.errors
    assert (error.pointer, error.code) == ("/trainingConfig/metrics/1", "conflict")
    assert "f1 is a metric of classification and binary" in error.message
    assert look(found.suggested_input, METRICS) == ["f1", "accuracy"]


def test_a_metric_of_another_task_than_the_loss_or_class_folders_is_refused(gate: Gate) -> None:
    by_loss = changed("trainingConfig", {"loss": "mse", "metrics": ["f1"]})
    assert [error.pointer for error in gate.examine(by_loss, "schema").errors] == ["/trainingConfig/metrics/0"]
    by_folders = gate.examine(changed(*METRICS, ["r2"]), "paths")
    assert [(error.pointer, error.code) for error in by_folders.errors] == [("/trainingConfig/metrics/0", "conflict")]
    assert look(by_folders.suggested_input, METRICS) == []


MONITOR = ("checkpointConfig", "monitor")

# (figure to watch of class folders, code of the error, what the suggestion has in its place)
UNWATCHABLE = [
    ("valF2", "not_allowed", "valF1"),
    ("valAcc", "not_allowed", "valAccuracy"),
    ("valAccurracy", "not_allowed", "valAccuracy"),
    ("valSharpness", "not_allowed", None),
    ("trainF1", "not_allowed", None),
    ("trainAcuracy", "not_allowed", "trainAccuracy"),
    ("valR2", "conflict", None),
    ("valRmse", "conflict", None),
    ("trainMae", "conflict", None),
]


@pytest.mark.parametrize("monitor", [MONITOR, ("trainingConfig", "earlyStopping", "monitor")])
@pytest.mark.parametrize(("figure", "code", "instead"), UNWATCHABLE)
def test_a_figure_that_no_run_has_is_refused_before_it(
    gate: Gate, monitor: tuple[str, ...], figure: str, code: str, instead: str | None
) -> None:
    found = gate.examine(changed(*monitor, figure), "paths")
    (error,) = found.errors
    assert (error.pointer, error.code, error.got) == ("/" + "/".join(monitor), code, figure)
    assert error.allowed is not None
    assert {"valLoss", "valAuroc", "trainAccuracy"} < set(error.allowed)
    assert "valR2" not in error.allowed
    assert look(found.suggested_input, monitor) == instead
    assert gate.examine(found.suggested_input, "paths").request is not None


OWN = "import torch\n\ndef metrics(outputs, targets): ...\nclass Net(torch.nn.Module): ...\n"


@pytest.mark.parametrize(
    "source",
    [
        OWN,
        "import torch\nfrom scores import metrics\n",
        "import torch\nfrom scores import *\n",
        "import torch\nif torch.cuda.is_available():\n    metrics = print\n",
        "import torch\nglobals()['metrics'] = print\n",
    ],
)
def test_what_the_model_file_may_compute_passes(gate: Gate, workspace: Path, source: str) -> None:
    (workspace / "models/own.py").write_text(source)
    own = changed("modelPath", "models/own.py")
    assert gate.examine(changed(*MONITOR, "valSharpness", base=own), "paths").errors == []
    assert gate.examine(changed(*MONITOR, "valR2", base=own), "paths").errors == []
    # Its figures are of validation alone.
    (error,) = gate.examine(changed(*MONITOR, "trainSharpness", base=own), "paths").errors
    assert error.code == "not_allowed"


def test_nobody_knows_a_model_file_that_was_not_read(gate: Gate) -> None:
    assert gate.examine(changed(*MONITOR, "valSharpness"), "schema").errors == []
    (error,) = gate.examine(changed(*MONITOR, "trainSharpness"), "schema").errors
    assert error.pointer == "/checkpointConfig/monitor"


def test_figures_without_a_task_in_common_are_refused(gate: Gate) -> None:
    table = changed("dataConfig", {"trainPath": "data/table.csv"})
    document = changed(
        "trainingConfig", "earlyStopping", {"monitor": "valF1"}, base=changed(*MONITOR, "valR2", base=table)
    )
    (error,) = gate.examine(document, "paths").errors
    assert (error.pointer, error.code) == ("/checkpointConfig/monitor", "conflict")
    assert "valF1 is a figure of classification and binary" in error.message


@pytest.mark.parametrize(
    ("section", "right"),
    [
        ({"monitor": "valAccuracy", "mode": "min"}, "max"),
        ({"monitor": "valLoss", "mode": "max"}, "min"),
        ({"mode": "max"}, "min"),
        ({"monitor": "trainLoss", "mode": "max"}, "min"),
    ],
)
def test_a_mode_that_calls_the_worst_epoch_the_best_is_refused(gate: Gate, section: Any, right: str) -> None:
    for path in (("checkpointConfig",), ("trainingConfig", "earlyStopping")):
        found = gate.examine(changed(*path, section), "paths")
        (error,) = found.errors
        assert (error.pointer, error.code, error.suggestion) == ("/" + "/".join((*path, "mode")), "conflict", right)
        assert look(found.suggested_input, (*path, "mode")) == right


def test_a_mode_passes_where_it_may_be_meant(gate: Gate, workspace: Path) -> None:
    assert gate.examine(changed("checkpointConfig", {"monitor": "valF1", "mode": "max"}), "paths").errors == []
    rising = changed("trainingConfig", {"optimizer": "SGD", "optimizerArgs": {"maximize": True}})
    assert gate.examine(changed("checkpointConfig", {"mode": "max"}, base=rising), "paths").errors == []
    (workspace / "models/own.py").write_text(OWN)
    own = changed("modelPath", "models/own.py")
    assert (
        gate.examine(changed("checkpointConfig", {"monitor": "valF1", "mode": "min"}, base=own), "paths").errors == []
    )


@pytest.mark.parametrize(("wrong", "right"), [("roc_auc", "valAuroc"), ("val_f1", "valF1"), ("mcc", "valMcc")])
def test_a_monitor_may_be_meant_by_its_metric(gate: Gate, wrong: str, right: str) -> None:
    found = gate.examine(changed("checkpointConfig", "monitor", wrong), "schema")
    assert look(found.suggested_input, ("checkpointConfig", "monitor")) == right
