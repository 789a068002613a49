"""What leaks: paths that become links, the service's memory, secrets in its environment and in what a user sends."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.process.real_service import ending_trainings, follow_until, serving
from tests.process.real_worker import has_ended, prepare, start

ROOT = Path(__file__).parents[2]
CANARY = "canary-7d21b0"
LABEL = "label-93be07"
# Names under which secrets lie in environments, and one that says nothing.
SECRETS = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "PYTHON_CREDENTIALS", "DATABASE_URL")


@pytest.mark.parametrize("place", ["trainPath", "saveDir"])
def test_a_path_that_has_become_a_link_since_the_gate_is_not_followed(tmp_path: Path, place: str):
    workspace, elsewhere = tmp_path / "workspace", tmp_path / "elsewhere"
    runs = workspace / "runs"
    sections: dict[str, Any] = {"checkpointConfig": {"saveDir": str(runs)}}
    run = runs / "job_1"
    attempt = prepare(
        tmp_path, "print('it ran', flush=True)", sections=sections, run_folder=str(run), isolation="guarded"
    )
    elsewhere.mkdir()
    (elsewhere / "secret.csv").write_text(f"x,y\n{CANARY},1\n")
    if place == "trainPath":
        (workspace / "table.csv").unlink()
        (workspace / "table.csv").symlink_to(elsewhere / "secret.csv")
    else:
        runs.symlink_to(elsewhere)
    worker = start(attempt)
    assert has_ended(worker.pid)
    worker.clear()
    outcome = attempt.outcome()
    assert outcome is not None
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.place and outcome.error.place.path) == (
        "input_invalid",
        str(workspace / "table.csv" if place == "trainPath" else runs),
    )
    assert sorted(path.name for path in elsewhere.iterdir()) == ["secret.csv"]
    assert CANARY not in outcome.model_dump_json() + attempt.log.read_text()
    assert "it ran" not in attempt.log.read_text()


SPIES = """
import sys
from trainer_core.guard.privileges import give_up_privileges
give_up_privileges()
sys.stdout.write(open(f"/proc/{sys.argv[1]}/environ").read())
"""


def test_a_service_that_serves_has_hidden_its_memory(tmp_path: Path):
    """Both processes are of one user without rights of root."""
    program = (
        "from trainer_core.guard.privileges import give_up_privileges; give_up_privileges(); "
        "from app.main import main; main()"
    )
    own = {"PT_HOME": str(tmp_path / "home"), "PT_WORKSPACE": str(tmp_path), "PT_PORT": "0", "PT_WARM": "off"}
    environment = {**os.environ, **own, "SECRET": CANARY}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, cwd=ROOT, text=True) as service:
        assert service.stderr is not None
        assert any("Listening on" in line for line in service.stderr)
        spy = [sys.executable, "-c", SPIES, str(service.pid)]
        spied = subprocess.run(spy, capture_output=True, text=True, cwd=ROOT, check=False)
        service.kill()
    assert spied.returncode != 0
    assert "PermissionError" in spied.stderr
    assert CANARY not in spied.stdout + spied.stderr


@pytest.mark.parametrize("hidden", [True, False])
def test_the_memory_of_the_service_is_its_own(hidden: bool):
    """Both processes are of one user without rights of root."""
    program = (
        "import sys; from app.isolation import hide_memory; "
        "from trainer_core.guard.privileges import give_up_privileges; "
        f"give_up_privileges(); hide_memory() if {hidden} else None; print(flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "SECRET": CANARY}
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, cwd=ROOT) as service:
        assert service.stdout is not None
        service.stdout.readline()
        spy = [sys.executable, "-c", SPIES, str(service.pid)]
        spied = subprocess.run(spy, capture_output=True, text=True, cwd=ROOT, check=False)
        service.communicate()
    assert (CANARY in spied.stdout) is not hidden
    assert ("PermissionError" in spied.stderr) is hidden


MODEL = """
import os, subprocess, sys
from sklearn.linear_model import LogisticRegression

print("ENVIRONMENT", dict(os.environ), flush=True)
print(open(f"/proc/{os.getpid()}/environ").read(), flush=True)
for pid in filter(str.isdecimal, os.listdir("/proc")):
    try:
        print(open(f"/proc/{pid}/environ").read(), flush=True)
    except OSError:
        print("REFUSED", flush=True)

def build_model():
    raise ValueError(f"{dict(os.environ)} is all I know")
"""


@pytest.fixture(scope="module")
def leaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """The home of a service with secrets, after a job that said all that it could find out; and what is answered of it."""
    folder = tmp_path_factory.mktemp("leaks")
    home, workspace = folder / "home", folder / "workspace"
    workspace.mkdir()
    (workspace / "table.csv").write_text("x,y\n" + "".join(f"{row},{row % 2}\n" for row in range(40)))
    (workspace / "model.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch, ending_trainings(home):
        for name in SECRETS:
            patch.setenv(name, CANARY)
        with serving(home, workspace) as (_, client):
            request = {
                "modelPath": "model.py",
                "dataConfig": {"trainPath": "table.csv"},
                "trainingConfig": {},
                "labels": {"owner": LABEL},
            }
            job_id = client.post("/v1/jobs", json=request).json()["jobId"]
            answers = {"events": json.dumps(follow_until(client, job_id, "job.completed"))}
            answers |= {what: client.get(f"/v1/jobs/{job_id}/{what}").text for what in ("result", "logs")}
            yield home, answers


def test_secrets_of_the_service_are_in_no_log_event_error_or_tag(leaks: tuple[Path, dict[str, str]]):
    home, answers = leaks
    token = (home / "token").read_text().strip()
    assert "is all I know" in json.loads(answers["result"])["error"]["untrusted"]
    assert "REFUSED" in answers["logs"]
    written = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and path.name != "token"}
    assert {"mlflow.db", "worker.log", "events.jsonl", "outcome.json"} <= {path.name for path in written}
    for secret in (CANARY, token):
        assert [what for what, answer in answers.items() if secret in answer] == []
        assert [path for path, content in written.items() if secret.encode() in content] == []


def test_labels_are_in_the_request_and_in_no_log_error_or_tag(leaks: tuple[Path, dict[str, str]]):
    home, answers = leaks
    payload = json.loads(answers["result"])
    assert payload["resolved"]["labels"] == {"owner": LABEL}
    assert LABEL not in answers["logs"] + json.dumps(payload["error"])
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        tags = database.execute("select key, value from tags").fetchall()
    assert len(tags) > 3
    assert LABEL not in str(tags)
