"""The tracker process: real children, real stores; whatever becomes of them, the job's end is near and told."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from mlflow.tracking.client import MlflowClient

from schemas.assignment import OUTCOME_FILE, Outcome
from schemas.events import EpochCompleted
from trainer_core.channel import Channel
from trainer_core.trackers.process import Patience, TrackerProcess, start_apart

SUCCEEDED = Outcome(state="succeeded")


def until(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    """Look until ``condition`` holds; another process makes it true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def runs(uri: str, job_id: str) -> list:
    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(experiments, f"tags.`pytorch_trainer.job_id` = '{job_id}'")


def test_two_at_once_make_the_store_together_and_both_runs_are_whole(make_attempt, tmp_path, capfd):
    uri = f"sqlite:///{tmp_path}/home/mlflow.db"
    attempts = [make_attempt(uri, job_id=job_id) for job_id in ("one", "two")]
    processes = []
    for attempt in attempts:
        attempt.run()
        processes.append(TrackerProcess.start(attempt.assignment))
    # As a cancel of the whole process group does: the trackers stay until their worker is done.
    until(lambda: all((attempt.folder / "tracking-mlflow.json").exists() for attempt in attempts))
    for process in processes:
        os.kill(process.pid, signal.SIGTERM)
    for attempt, process in zip(attempts, processes, strict=True):
        channel = Channel()
        (tracking,) = process.finish(SUCCEEDED, channel)
        assert (tracking.status, channel.said) == ("complete", [])
        (run,) = runs(uri, attempt.assignment.job_id)
        assert (run.info.run_id, run.info.status) == (tracking.run_id, "FINISHED")
        assert run.data.metrics["train_loss"] == pytest.approx(1 / 3)
        assert len(attempt.metrics.splitlines()) == 4
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"mlflow.db", "mlflow.db.lock", "mlartifacts"}
    # Migrations are noisy: none of it may reach the job's own log.
    assert capfd.readouterr() == ("", "")
    assert "Creating initial MLflow database" in "".join((a.folder / "tracker.log").read_text() for a in attempts)


def test_a_killed_tracker_fails_nothing_and_its_figures_can_be_exported_later(make_attempt, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    attempt = make_attempt(uri)
    process = TrackerProcess.start(attempt.assignment)
    os.kill(process.pid, signal.SIGKILL)
    attempt.run()
    channel = Channel()
    (tracking,) = process.finish(SUCCEEDED, channel)
    assert tracking.status == "failed"
    assert "status -9" in tracking.message
    (alert,) = channel.said
    assert (alert.code, alert.level) == ("tracking_failed", "warning")
    assert len(attempt.metrics.splitlines()) == 4

    (attempt.folder / OUTCOME_FILE).write_text(SUCCEEDED.model_dump_json(by_alias=True, exclude_none=True))
    command = alert.remedy.partition("python ")[2].partition(" <")[0]
    subprocess.run([sys.executable, *command.split()], stdin=subprocess.DEVNULL, check=True, timeout=100)
    (run,) = runs(uri, "job-1")
    assert (run.info.status, run.data.metrics["epoch"]) == ("FINISHED", 3.0)


def test_a_tracker_whose_worker_is_gone_ends_by_itself(make_attempt, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    attempt = make_attempt(uri)
    attempt.run()
    command = [sys.executable, "-m", "trainer_core.trackers.main", str(attempt.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        process.stdin.close()
        assert process.wait(100) == 0
    (run,) = runs(uri, "job-1")
    assert (run.info.status, run.data.tags["pytorch_trainer.state"]) == ("FAILED", "lost")


@pytest.mark.alone
def test_a_tracker_that_hangs_is_ended_in_bounded_time(make_attempt, tmp_path):
    attempt = make_attempt(f"sqlite:///{tmp_path}/mlflow.db")
    attempt.run()
    process = TrackerProcess.start(attempt.assignment, Patience(quiet_seconds=0.5, total_seconds=5))
    os.kill(process.pid, signal.SIGSTOP)
    start = time.monotonic()
    (tracking,) = process.finish(SUCCEEDED, Channel())
    assert time.monotonic() - start < 4
    assert tracking.status == "failed"
    assert "0.5 s without a sign of life" in tracking.message
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    assert len(attempt.metrics.splitlines()) == 4


def test_metrics_csv_grows_while_a_silent_store_is_waited_for(make_attempt):
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempt = make_attempt(f"http://user:secret@127.0.0.1:{server.getsockname()[1]}")
        attempt.run()
        process = TrackerProcess.start(attempt.assignment, Patience(quiet_seconds=0.2, total_seconds=5))
        server.accept()  # MLflow asks, and gets no answer
        attempt.say(EpochCompleted(epoch=4, train_loss=0.25))
        until(lambda: attempt.metrics.splitlines()[-1].startswith("4,0.25"))
        (tracking,) = process.finish(SUCCEEDED, Channel())
    assert tracking.status == "failed"
    assert "secret" not in tracking.model_dump_json()
    assert "Opening the store" in tracking.message


def test_without_mlflow_there_is_a_table_and_nothing_to_report(make_attempt):
    attempt = make_attempt(None)
    attempt.run()
    channel = Channel()
    assert TrackerProcess.start(attempt.assignment).finish(SUCCEEDED, channel) == []
    assert channel.said == []
    assert len(attempt.metrics.splitlines()) == 4


def test_a_process_that_cannot_be_started_and_a_table_that_cannot_be_written_are_warnings(make_attempt, tmp_path):
    attempt = make_attempt(f"sqlite:///{tmp_path}/mlflow.db")
    gone = attempt.assignment.model_copy(update={"attempt_folder": str(tmp_path / "gone")})
    channel = Channel()
    (tracking,) = TrackerProcess.start(gone).finish(SUCCEEDED, channel)
    assert "could not be started" in tracking.message
    assert [alert.code for alert in channel.said] == ["metrics_file_failed", "tracking_failed"]


def child_of(folder: Path) -> psutil.Process:
    """The one child of this process that was started for ``folder``, as soon as it says so: it has its program before it has
    its arguments. Other tests have left this process others, which may have ended."""
    found: list[psutil.Process] = []

    def look() -> bool:
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):  # a zombie is one
                if str(folder) in child.cmdline():
                    found.append(child)
        return bool(found)

    until(look)
    (child,) = found
    return child


def test_a_tracker_that_was_started_apart_is_told_the_end_and_waited_for(make_attempt):
    attempt = make_attempt(None)
    attempt.run()
    ends = start_apart(attempt.folder)
    child = child_of(attempt.folder)
    channel = Channel()
    assert TrackerProcess.inherit(attempt.assignment, ends).finish(SUCCEEDED, channel) == []
    # What ends gives up its memory, then its pipes: where these are seen closed, it has no command line any more.
    assert Path(f"/proc/{child.pid}/cmdline").read_bytes() == b""
    assert os.waitpid(child.pid, 0)[1] == 0
    assert channel.said == []


@pytest.mark.alone
def test_a_tracker_apart_that_hangs_is_left_behind_in_bounded_time(make_attempt, tmp_path):
    attempt = make_attempt(f"sqlite:///{tmp_path}/mlflow.db")
    attempt.run()
    ends = start_apart(attempt.folder)
    child = child_of(attempt.folder)
    child.suspend()
    process = TrackerProcess.inherit(attempt.assignment, ends, Patience(quiet_seconds=0.3, total_seconds=5))
    start = time.monotonic()
    (tracking,) = process.finish(SUCCEEDED, Channel())
    assert time.monotonic() - start < 2
    assert tracking.status == "failed"
    assert "left behind" in tracking.message
    child.kill()
    os.waitpid(child.pid, 0)
