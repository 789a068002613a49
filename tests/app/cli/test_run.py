"""``run`` through a service that runs: what is on stdout, what is on stderr, and the exit code."""

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.supervision.payload import check
from schemas.problems import Problem
from tests.app.cli.command import (
    CAN_BE_CANCELLED,
    COMMAND,
    FAILS,
    NEVER_STOPS,
    SUCCEEDS,
    WAITS,
    RunningService,
    Started,
    command,
    environment,
    write_request,
)


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder, "workspace")
        workspace.mkdir()
        with RunningService(Path(folder, "home"), workspace) as running:
            yield running
            running.clear()


def request_in(service: RunningService, program: str) -> str:
    return str(write_request(service.settings.workspace, program))


def job_id_in(text: str) -> str:
    found = re.search(r"job_\w+", text)
    assert found is not None, text
    return found[0]


def test_the_payload_stands_alone_on_stdout(service: RunningService) -> None:
    ended = command(service.settings.home, "run", request_in(service, SUCCEEDS))
    assert ended.returncode == 0, ended.stderr
    payload = json.loads(ended.stdout)
    assert check(payload) == []
    assert "epoch 1/9 · loss 1" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("success: train loss 1 (epoch 1 of 1")
    assert f"pytorch-trainer status {payload['jobId']} or {service.url}/docs" in ended.stderr


def test_quiet_says_nothing_but_the_payload(service: RunningService) -> None:
    ended = command(service.settings.home, "run", "--quiet", "-", text=Path(request_in(service, SUCCEEDS)).read_text())
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["status"] == "success"


def test_a_refused_request_is_a_problem_on_stdout_and_readable_on_stderr(service: RunningService) -> None:
    request = write_request(service.settings.workspace, SUCCEEDS, trainingConfig={"learningrate": 0.1, "epochs": 0})
    ended = command(service.settings.home, "run", str(request))
    assert ended.returncode == 2
    problem = Problem.model_validate_json(ended.stdout)
    assert {error.pointer for error in problem.errors} == {
        "/trainingConfig/learningrate",
        "/trainingConfig/epochs",
    }
    assert "/trainingConfig/learningrate: " in ended.stderr
    assert "fix         remove /trainingConfig/learningrate; add /trainingConfig/learningRate as 0.1" in ended.stderr


def test_a_request_file_that_is_not_there_is_a_problem_too(service: RunningService) -> None:
    ended = command(service.settings.home, "run", "nowhere.json")
    assert ended.returncode == 2
    assert "nowhere.json: No such file" in Problem.model_validate_json(ended.stdout).detail


def test_a_training_that_fails_exits_with_1_and_says_why(service: RunningService) -> None:
    ended = command(service.settings.home, "run", request_in(service, FAILS))
    assert ended.returncode == 1
    payload = json.loads(ended.stdout)
    assert (payload["status"], payload["error"]["code"]) == ("error", "data_invalid")
    assert "data_invalid: Row 3 holds NaN.\n  at /data/table.csv, row 3" in ended.stderr
    assert "Next: Mend row 3." in ended.stderr
    said = command(service.settings.home, "logs", payload["jobId"])
    assert said.stdout == "the last words\n"


def test_ctrl_c_cancels_keeps_the_checkpoint_and_prints_the_payload(service: RunningService) -> None:
    with Started(service.settings.home, "run", request_in(service, CAN_BE_CANCELLED)) as run:
        run.until("epoch 1/9")
        run.interrupt()
        code, out, said = run.end()
    assert code == 4, said
    assert json.loads(out)["error"]["code"] == "cancelled"
    assert "its checkpoint is kept: /runs/kept" in said
    assert '"resumeFrom": "/runs/kept"' in said


def test_a_second_ctrl_c_leaves_at_once_and_names_the_job(service: RunningService) -> None:
    with Started(service.settings.home, "run", request_in(service, NEVER_STOPS)) as run:
        run.until("epoch 1/9")
        run.interrupt()
        run.until("cancelling: ")
        run.interrupt()
        code, out, said = run.end()
    assert (code, out) == (3, "")
    job_id = job_id_in(said)
    assert f"pytorch-trainer watch {job_id}" in said
    service.open_gate(job_id)
    # A cancel that comes too late ends as the run ended.
    assert command(service.settings.home, "wait", job_id).returncode == 0


def test_a_shell_that_cuts_the_command_off_is_told_the_job(service: RunningService) -> None:
    with Started(service.settings.home, "run", request_in(service, WAITS)) as run:
        run.until("epoch 1/9")
        run.interrupt(signal.SIGTERM)
        code, out, said = run.end()
    assert (code, out) == (3, "")
    job_id = job_id_in(said)
    service.open_gate(job_id)
    assert command(service.settings.home, "wait", job_id).returncode == 0


def test_a_restart_of_the_service_is_bridged(tmp_path: Path) -> None:
    home = tmp_path / "home"
    request = write_request(tmp_path, WAITS)
    with RunningService(home, tmp_path) as first:
        run = Started(home, "run", str(request))
        run.until("epoch 1/9")
        job_id = json.loads(command(home, "list", "--json").stdout)["jobs"][0]["jobId"]
    with run, RunningService(home, tmp_path) as second:
        assert second.url != first.url
        second.open_gate(job_id)
        code, out, said = run.end()
    assert code == 0, said
    assert [row["epoch"] for row in json.loads(out)["learningCurve"]] == [1, 2]


@pytest.mark.parametrize("arguments", [["run", "-"], ["schema", "input"]], ids=["refused", "answered"])
def test_a_reader_that_has_gone_is_no_traceback(service: RunningService, arguments: list[str]):
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(service.settings.home),
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")
