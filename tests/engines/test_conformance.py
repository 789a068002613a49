"""One suite over every engine: the same requests, the same events in the same order, the same things left on disk; by a
worker that is a program of its own, and then by forked ones."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schemas.engines import ENGINES
from schemas.events import (
    Alert,
    CheckpointSaved,
    DataLoaded,
    EarlyStopTriggered,
    EpochCompleted,
    EpochStarted,
    JobStarted,
    ModelLoaded,
    RunFinalizing,
    RunResolved,
    RunRestored,
)
from trainer_core.checkpoints.manifest import verify

EPOCH = "epoch.started (step )*epoch.completed "
LEGAL = re.compile(
    rf"job.started run.resolved data.loaded model.loaded (run.restored )?({EPOCH})*"
    rf"(epoch.started (step )*epoch.completed early_stop.triggered )?run.finalizing "
)

MODELS = {
    "native": "import torch\nfrom torch import nn\n"
    "def build_model(rate=0.0):\n"
    "    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(rate), nn.Linear(32, 10))\n",
    "sklearn": "from sklearn.linear_model import SGDClassifier\n"
    "def build_model(rate=0.0001):\n"
    "    return SGDClassifier(loss='log_loss', alpha=rate)\n",
}

# At the second validation the worker is sent SIGTERM, as a cancel does: nobody has to guess when that is.
STOPPING = """
import os, signal
calls = []
def metrics(outputs, targets):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    return {"calls": len(calls)}
"""

# Leaves a note on what the process had imported when it ended.
NOTING = """
import atexit, pathlib, sys
atexit.register(lambda: pathlib.Path(__file__).with_name("imported.txt").write_text(" ".join(sys.modules)))
"""


def test_every_engine_is_in_the_suite():
    assert MODELS.keys() == ENGINES.keys()


@dataclass
class Case:
    """One engine, and a run of three epochs by it."""

    engine: str
    workspace: Any
    worker: Any
    run: Any

    def attempt(self, name: str, model: str = "", **sections: Any) -> Any:
        """What a worker leaves of a run of the engine's model, ``model`` added to its file."""
        source = MODELS[self.engine] + model
        return self.worker(
            self.workspace.assign(f"{self.engine}_{name}", self.engine, source, "digits.npz", **sections)
        )


RUN = {
    "trainingConfig": {"epochs": 3, "reportEverySeconds": 0},
    "checkpointConfig": {"monitor": "valAccuracy"},
    "resources": {"threads": 1},
}


@pytest.fixture(scope="module", params=list(ENGINES))
def case(request, workspace, worker, warm_worker) -> Case:
    case = Case(request.param, workspace, worker, None)
    case.run = case.attempt("run", NOTING, **RUN)
    case.worker = warm_worker
    return case


def order(attempt) -> str:
    return "".join(f"{kind} " for kind in attempt.kinds if kind not in ("alert", "log", "checkpoint.saved"))


def assert_saved_in_time(attempt) -> None:
    """A checkpoint may be on disk while the next epoch trains: after the epoch that it holds, and before the end of the run."""
    kinds = [kind for kind in attempt.kinds if kind in ("epoch.completed", "checkpoint.saved", "run.finalizing")]
    saved = [kinds[:number].count("epoch.completed") for number, kind in enumerate(kinds) if kind == "checkpoint.saved"]
    first = attempt.of(EpochCompleted)[0].epoch
    for item, completed in zip(attempt.of(CheckpointSaved), saved, strict=True):
        assert first + completed > item.epoch
    assert kinds[-1] == "run.finalizing"


def test_events_come_in_the_legal_order(case):
    assert case.run.status == 0, case.run.errors
    assert LEGAL.fullmatch(order(case.run)), order(case.run)
    assert_saved_in_time(case.run)
    assert case.run.outcome.state == "succeeded"
    assert case.run.outcome.error is None


def test_what_was_chosen_is_said(case):
    resolved = case.run.of(RunResolved)[0]
    assert resolved.resolved["engine"] == case.engine
    assert resolved.resolved["trainingConfig"]["task"] == "classification"
    assert resolved.chosen["/dataConfig/format"] == "npz"
    assert resolved.chosen["/trainingConfig/loss"]
    assert "/trainingConfig/epochs" not in resolved.chosen


def test_data_and_model_are_described(case):
    data, model = case.run.of(DataLoaded)[0], case.run.of(ModelLoaded)[0]
    assert (data.train_samples, data.val_samples, data.task) == (480, 120, "classification")
    assert data.classes == list("0123456789")
    assert data.profile["inputs"]["shape"] == [64]
    assert len(model.sha256) == 64
    assert model.name


def test_every_epoch_has_its_figures(case):
    rows = case.run.of(EpochCompleted)
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert [started.epochs for started in case.run.of(EpochStarted)] == [3, 3, 3]
    for row in rows:
        for name in ("trainLoss", "valLoss", "trainAccuracy", "valAccuracy", "valF1"):
            assert row.figure(name) is not None, name
        assert row.seconds > 0
        assert row.samples_per_second > 0
    assert case.run.of(RunFinalizing)[0].epochs_trained == 3
    assert rows[-1].train_loss < rows[0].train_loss


def test_the_best_epoch_is_that_of_the_monitor(case):
    rows = case.run.of(EpochCompleted)
    best = [row for row in rows if row.is_best][-1]
    assert best.val_accuracy == max(row.val_accuracy for row in rows)


def test_checkpoints_exist_and_verify(case):
    saved = case.run.of(CheckpointSaved)
    assert [item.epoch for item in saved] == [1, 2, 3]
    assert [item.kind for item in saved] == ["epoch", "epoch", "final"]
    assert any(item.is_best for item in saved)
    kept = [item for item in saved if Path(item.path).exists()]
    assert saved[-1] in kept
    assert [item for item in saved if item.is_best][-1] in kept
    for item in kept:
        manifest = verify(Path(item.path))
        assert (manifest.epoch, manifest.kind, manifest.is_best) == (item.epoch, item.kind, item.is_best)


def test_artifacts_are_where_they_are_said_to_be(case):
    artifacts = case.run.outcome.artifacts
    assert {artifact.name for artifact in artifacts} >= {"preprocessing.json"}
    for artifact in artifacts:
        assert Path(artifact.path).stat().st_size == artifact.bytes


def test_a_scikit_learn_job_never_loads_torch(case):
    note = case.workspace.folder / f"{case.engine}_run" / "imported.txt"
    loaded = set(note.read_text().split())
    assert ("torch" in loaded) == (case.engine == "native")
    assert ("sklearn" in loaded) == (case.engine == "sklearn")


def test_a_forked_worker_trains_as_a_program_does_to_the_bit(case):
    forked = case.attempt("forked", **RUN)
    assert order(forked) == order(case.run)
    assert figures(forked) == figures(case.run)


def test_a_weaker_level_than_the_one_in_force_is_said_to_be_asked_for_in_vain(case):
    asked = {**RUN, "resources": {"threads": 1, "isolation": "none"}}
    guarded = case.attempt("guarded", in_force="guarded", **asked)
    assert guarded.outcome.state == "succeeded", guarded.outcome
    assert guarded.of(JobStarted)[0].isolation.level == "guarded"
    in_vain = [alert.evidence["pointers"] for alert in guarded.of(Alert) if alert.code == "no_effect"]
    assert ["/resources/isolation"] in in_vain
    assert "isolation" not in guarded.of(RunResolved)[0].resolved["resources"]
    granted = case.attempt("granted", **asked)
    assert [alert for alert in granted.of(Alert) if "isolation" in alert.message] == []


def figures(attempt) -> list[dict[str, float]]:
    """Of every epoch, without times."""
    names = ("trainLoss", "valLoss", "trainAccuracy", "valAccuracy", "valF1")
    return [{name: row.figure(name) for name in names} for row in attempt.of(EpochCompleted)]


def test_a_request_to_stop_ends_as_cancelled_with_a_checkpoint(case):
    attempt = case.attempt("stop", STOPPING, trainingConfig={"epochs": 100})
    assert attempt.outcome.state == "cancelled"
    assert attempt.outcome.error.code == "cancelled"
    assert attempt.kinds.count("epoch.started") <= 3
    assert "run.finalizing" not in attempt.kinds
    verify(Path(attempt.of(CheckpointSaved)[-1].path))


def test_a_run_goes_on_from_a_checkpoint_and_stops_early(case):
    """Nothing improves by so much: patience runs out in the second epoch after the resume."""
    path = case.run.of(CheckpointSaved)[-1].path
    attempt = case.attempt(
        "resume",
        trainingConfig={"epochs": 50, "earlyStopping": {"monitor": "valAccuracy", "patience": 1, "minDelta": 5}},
        checkpointConfig={"resumeFrom": path, "monitor": "valAccuracy"},
    )
    assert attempt.outcome.state == "early_stopped", attempt.outcome
    assert LEGAL.fullmatch(order(attempt)), order(attempt)
    assert_saved_in_time(attempt)
    restored = attempt.of(RunRestored)[0]
    assert (restored.path, restored.epoch, len(restored.history)) == (path, 3, 3)
    assert [row.epoch for row in attempt.of(EpochCompleted)] == [4, 5]
    stopped = attempt.of(EarlyStopTriggered)[0]
    assert (stopped.monitor, stopped.patience, stopped.best_epoch, stopped.epoch) == ("valAccuracy", 1, 4, 5)
    assert attempt.of(RunFinalizing)[0].epochs_trained == 5


def test_a_model_file_that_does_not_import(case):
    attempt = case.attempt("broken", "\nimport nowhere_to_be_found\n")
    error = attempt.outcome.error
    assert (attempt.outcome.state, error.code) == ("failed", "model_import_failed")
    assert error.place.line == len(MODELS[case.engine].splitlines()) + 2
    assert attempt.kinds == ["job.started"]


def test_a_thread_that_the_model_file_left_does_not_keep_the_worker(workspace, warm_worker):
    source = (
        "import threading\nfrom sklearn.linear_model import LogisticRegression\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "def build_model():\n    return LogisticRegression(max_iter=1000)\n"
    )
    attempt = warm_worker(workspace.assign("thread", "sklearn", source, "iris.csv", trackingConfig={"mlflow": False}))
    assert attempt.status == 0
    assert attempt.outcome.state == "succeeded"
