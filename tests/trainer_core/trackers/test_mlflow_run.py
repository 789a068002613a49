"""A run in a real MLflow store on SQLite, read back with MLflow's own client."""

import json
import socket
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow.tracking.client import MlflowClient

from schemas.events import EpochCompleted, EpochStarted, EventData, RunRestored, Step
from schemas.result import EpochRow, Tracking
from trainer_core.trackers.delivery import Delivery, Ending
from trainer_core.trackers.destination import find_destination
from trainer_core.trackers.event_log import EventLog
from trainer_core.trackers.mlflow import MlflowRun
from trainer_core.trackers.mlflow_copy import copy_until
from trainer_core.trackers.mlflow_store import create_database


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    create_database(database)
    return f"sqlite:///{database}"


class Tracked:
    """One attempt with its consumer, fed by hand."""

    def __init__(self, attempt) -> None:
        self.reports: list[Tracking] = []
        self.run = MlflowRun(attempt.assignment, find_destination(attempt.assignment), self.reports.append)
        self.log = EventLog(attempt.folder)

    def deliver(self, state: str) -> str:
        """Deliver the whole log and the end; the run's id."""
        self.run.take(self.log.read())
        self.run.close(state)
        return self.reports[-1].run_id


def test_a_run_holds_parameters_figures_tags_and_the_checkpoint(make_attempt, store):
    attempt = make_attempt(store, job_id="whole", tags={"team": "red"}, experiment="digits", runName="first")
    attempt.run()
    tracked = Tracked(attempt)
    run_id = tracked.deliver("succeeded")
    assert tracked.reports[-1] == Tracking(
        tracker="mlflow", status="complete", experiment="digits", run_name="first", run_id=run_id, tracking_uri=store
    )
    client = MlflowClient(store)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert client.get_experiment(run.info.experiment_id).name == "digits"
    assert run.data.params["trainingConfig.learningRate"] == "0.001"
    assert run.data.params["trainingConfig.optimizerArgs.betas"] == "[0.9, 0.99]"
    assert run.data.tags["team"] == "red"
    assert run.data.tags["version.torch"] == "2.13.0"
    assert run.data.tags["pytorch_trainer.state"] == "succeeded"
    assert run.data.tags["pytorch_trainer.checkpoint"] == "/run/epoch-2"
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "train_loss")] == [
        (1, 1),
        (2, 1 / 2),
        (3, 1 / 3),
    ]
    assert [m.step for m in client.get_metric_history(run_id, "system/samples_per_second")] == [10, 20, 30]
    assert run.data.metrics["val_r2"] == 0.3
    beside = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts" / run_id / "artifacts" / "checkpoint.json"
    assert json.loads(beside.read_text())["sha256"] == "2" * 64
    assert not Path("mlruns").exists()


def test_delivering_a_log_again_adds_nothing(make_attempt, store):
    attempt = make_attempt(store, job_id="again")
    attempt.run()
    first = Tracked(attempt).deliver("succeeded")
    assert Tracked(attempt).deliver("succeeded") == first
    client = MlflowClient(store)
    for key in ("train_loss", "system/memory_bytes", "epoch"):
        assert len(client.get_metric_history(first, key)) == 3


@pytest.mark.parametrize(("state", "status"), [("failed", "FAILED"), ("cancelled", "KILLED"), ("lost", "FAILED")])
def test_a_run_that_never_began_has_its_status_and_the_request_s_parameters(make_attempt, store, state, status):
    attempt = make_attempt(store, job_id=state)
    tracked = Tracked(attempt)
    tracked.run.close(state)
    run = MlflowClient(store).get_run(tracked.reports[-1].run_id)
    assert run.info.status == status
    assert run.data.params["trainingConfig.epochs"] == "3"


def test_a_later_attempt_goes_on_with_the_same_run(make_attempt, store):
    first, second = make_attempt(store, job_id="resumed"), make_attempt(store, job_id="resumed", number=2)
    first.run()
    run_id = Tracked(first).deliver("lost")
    history = [EpochRow(epoch=epoch, train_loss=1 / epoch) for epoch in (1, 2, 3)]
    second.say(RunRestored(path="/c", epoch=3, step=30, history=history))
    second.say(EpochCompleted(epoch=4, train_loss=1 / 4))
    assert Tracked(second).deliver("succeeded") == run_id
    client = MlflowClient(store)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["pytorch_trainer.attempt"] == "2"
    assert [point.step for point in client.get_metric_history(run_id, "train_loss")] == [1, 2, 3, 4]


def series(store: str, run_id: str, key: str) -> list[tuple[int, float]]:
    """Steps and values of a series."""
    return [(point.step, point.value) for point in MlflowClient(store).get_metric_history(run_id, key)]


def again(epoch: int, loss: float) -> list[EventData]:
    """An epoch of ten steps that is trained once more."""
    return [Step(epoch=epoch, step=10 * epoch, total_steps=30, loss=loss), EpochCompleted(epoch=epoch, train_loss=loss)]


@pytest.mark.parametrize("in_one_go", [True, False])
def test_what_a_roll_back_undoes_is_in_the_run_no_more(make_attempt, store, in_one_go):
    """Each step and epoch once, as it was trained last; parameters, tags and the job's one run are there."""
    attempt = make_attempt(store, job_id=f"back-{in_one_go}", tags={"team": "red"}, runName="back")
    attempt.run()
    tracked = Tracked(attempt)
    if not in_one_go:
        tracked.run.take(tracked.log.read())
    rows = [EpochRow(epoch=1, train_loss=1.0)]
    attempt.say(RunRestored(path="/run/epoch-1", epoch=1, step=10, history=rows), *again(2, 0.4), *again(3, 0.3))
    run_id = tracked.deliver("succeeded")
    assert series(store, run_id, "train_loss") == [(1, 1.0), (2, 0.4), (3, 0.3)]
    assert series(store, run_id, "val_r2") == [(1, 0.1)]
    assert series(store, run_id, "step/loss") == [(10, 0.5), (20, 0.4), (30, 0.3)]
    assert series(store, run_id, "system/memory_bytes") == [(10, 7.0)]
    client = MlflowClient(store)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "back")
    assert (run.data.tags["team"], run.data.params["trainingConfig.epochs"]) == ("red", "3")
    of_job = f"tags.`pytorch_trainer.job_id` = '{attempt.assignment.job_id}'"
    assert [found.info.run_id for found in client.search_runs([run.info.experiment_id], of_job)] == [run_id]
    (earlier,) = client.search_runs([run.info.experiment_id], of_job, run_view_type=ViewType.DELETED_ONLY)
    assert earlier.data.tags["pytorch_trainer.replaced_by"] == run_id
    assert series(store, earlier.info.run_id, "train_loss")[1:] == [(2, 1 / 2), (3, 1 / 3)], "it can be looked at"


@pytest.mark.parametrize("saved", [True, False])
def test_what_a_lost_attempt_did_not_save_is_in_the_run_no_more(make_attempt, store, saved):
    first, second = (make_attempt(store, job_id=f"lost-{saved}", number=number) for number in (1, 2))
    first.run()
    Tracked(first).deliver("lost")
    if saved:
        history = [EpochRow(epoch=1, train_loss=1.0)]
        second.say(RunRestored(path="/c", epoch=1, step=10, history=history))
    else:
        second.say(EpochStarted(epoch=1, epochs=3, steps=10), *again(1, 1.0))
    second.say(EpochStarted(epoch=2, epochs=3, steps=10), *again(2, 0.4))
    run_id = Tracked(second).deliver("succeeded")
    assert series(store, run_id, "train_loss") == [(1, 1.0), (2, 0.4)]
    assert series(store, run_id, "step/loss") == [(10, 0.5 if saved else 1.0), (20, 0.4)]
    assert MlflowClient(store).get_run(run_id).data.tags["pytorch_trainer.attempt"] == "2"


def test_a_run_and_its_copy_stopped_at_the_very_end_of_copying(make_attempt, store):
    """Both carry the job's id: the copy says which it replaces, and is the one that is gone on with."""
    first, second = (make_attempt(store, job_id="both", number=number) for number in (1, 2))
    first.run()
    old = Tracked(first).deliver("lost")
    client = MlflowClient(store)
    new = copy_until(client, old, step=20, epoch=2)
    client.restore_run(old)
    second.say(*again(3, 0.3))
    assert Tracked(second).deliver("succeeded") == new


def test_a_restored_run_brings_its_history_to_a_store_that_lacks_it(make_attempt, store):
    attempt = make_attempt(store, job_id="restored")
    attempt.say(RunRestored(path="/c", epoch=1, step=10, history=[EpochRow(epoch=1, train_loss=4.0)]))
    run_id = Tracked(attempt).deliver("succeeded")
    assert [point.value for point in MlflowClient(store).get_metric_history(run_id, "train_loss")] == [4.0]


def test_more_figures_than_one_call_takes(make_attempt, store):
    attempt = make_attempt(store, job_id="many", tags={f"tag {number}": "x" for number in range(150)})
    metrics = {f"val{number}": 1.0 for number in range(2500)}
    attempt.say(EpochCompleted(epoch=1, train_loss=1.0, metrics=metrics))
    run_id = Tracked(attempt).deliver("succeeded")
    run = MlflowClient(store).get_run(run_id)
    assert len(run.data.metrics) == 2502
    assert run.data.tags["tag 149"] == "x"


@pytest.fixture
def silent_server():
    """Accepts connections, in the kernel's queue, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://user:secret@127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["no such scheme", "file in the way", "closed port", "silent server"])
def test_a_store_that_cannot_be_reached_is_given_up_with_its_reason(
    kind, make_attempt, tmp_path, silent_server, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "file").touch()
    uri = {
        "no such scheme": "nonsense://user:secret@nowhere",
        "file in the way": f"sqlite:///{tmp_path}/file/mlflow.db",
        "closed port": "http://user:secret@127.0.0.1:9",
        "silent server": silent_server,
    }[kind]
    attempt = make_attempt(uri, job_id="lost")
    attempt.run()
    tracked = Tracked(attempt)
    ending = Ending()
    ending.tell("succeeded")
    delivery = Delivery(tracked.run, attempt.folder, ending)
    delivery.start()
    delivery.join(60)
    assert not delivery.is_alive()
    assert tracked.reports[-1].status == "failed"
    assert len(tracked.reports[-1].message) > 20
    assert "secret" not in tracked.reports[-1].model_dump_json()


def test_a_database_whose_making_was_killed_is_made_anew(tmp_path):
    (tmp_path / "mlflow.db.new").write_bytes(b"half a migration")
    create_database(tmp_path / "mlflow.db")
    assert MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()


def test_what_a_store_refused_is_delivered_when_it_is_mended(make_attempt, store, tmp_path):
    (tmp_path / "file").touch()
    attempt = make_attempt(f"sqlite:///{tmp_path}/file/mlflow.db")
    attempt.run()
    tracked = Tracked(attempt)
    lines = tracked.log.read()
    with pytest.raises(OSError, match="file"):
        tracked.run.take(lines)
    (tmp_path / "file").unlink()
    (tmp_path / "file").mkdir()
    tracked.run.take(lines)
    tracked.run.close("succeeded")
    assert tracked.reports[-1].status == "complete"
