"""A real training that is killed, and one that is paused, end with the weights of one that was left alone, to the bit."""

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.supervision.processes import marked
from tests.process.real_service import MODEL, ending_trainings, follow_until, next_nursery, serving, write_workspace

# Where there is a pipe to wait at, the first attempt stands still in its 16th pass, in the middle of its second epoch: it is
# not over before it is killed, paused or stopped.
HELD = MODEL.replace(
    "        work =",
    """        self.passes = getattr(self, "passes", 0) + self.training
        first = os.environ["PYTORCH_TRAINER_ATTEMPT"].endswith("/1")
        if self.passes == 16 and first and os.path.exists("PIPE"):
            open("PIPE").read()
        work =""",
    1,
).replace("import torch\n", "import os\n\nimport torch\n", 1)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, httpx.Client, dict[str, Any], str]]:
    """A service, a request that saves in mid-epoch, and the digest of the weights that it leads to undisturbed."""
    folder = tmp_path_factory.mktemp("attempts")
    home, workspace = folder / "home", folder / "workspace"
    request = write_workspace(workspace)
    (workspace / "slow.py").write_text(HELD.replace("PIPE", str(workspace / "pipe")))
    request["checkpointConfig"] = {"saveEverySteps": 3}
    request["dataConfig"]["batchSize"] = 40
    request["trainingConfig"]["epochs"] = 4
    with ending_trainings(home), serving(home, workspace, PT_WARM="on") as (service, client):
        next_nursery(service)
        job_id = client.post("/v1/jobs", json=request).json()["jobId"]
        follow_until(client, job_id, "job.completed")
        yield home, client, request, digest(payload_of(client, job_id))


@pytest.fixture
def pipe(training: tuple[Path, httpx.Client, dict[str, Any], str]) -> Iterator[Path]:
    """Where the first attempt of a job waits: opened to be written to as soon as it stands there, which goes on when that is
    closed."""
    path = training[0].with_name("workspace") / "pipe"
    os.mkfifo(path)
    yield path
    path.unlink()


def payload_of(client: httpx.Client, job_id: str) -> dict[str, Any]:
    payload: dict[str, Any] = client.get(f"/v1/jobs/{job_id}/result").json()
    assert payload["status"] == "success", payload
    return payload


def digest(payload: dict[str, Any]) -> str:
    """Of the newest weights; the best may be those of an earlier epoch."""
    folder = Path(payload["checkpointPath"]).parent
    newest = folder / (folder / "latest").read_text().strip()
    return hashlib.sha256((newest / "model.safetensors").read_bytes()).hexdigest()


def whole(events: list[dict[str, Any]], payload: dict[str, Any], epochs: int) -> None:
    """Numbers without a gap, a curve without a gap, a payload that lists both attempts."""
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert [row["epoch"] for row in payload["learningCurve"]] == list(range(1, epochs + 1))
    assert [attempt["number"] for attempt in payload["attempts"]] == [1, 2]
    assert payload["attempts"][1]["fromCheckpoint"]
    assert "resumeFrom" not in payload["resolved"]["checkpointConfig"]
    isolations = [event["data"]["isolation"] for event in events if event["type"] == "job.started"]
    assert isolations[0]["level"] == "guarded"
    assert isolations == [payload["provenance"]["isolation"]] * 2


@pytest.mark.timeout(180)
def test_a_killed_training_goes_on_by_itself(training: tuple[Path, httpx.Client, dict[str, Any], str], pipe: Path):
    _, client, request, undisturbed = training
    job_id = client.post("/v1/jobs", json=request).json()["jobId"]
    events = follow_until(client, job_id, "epoch.completed")
    events += follow_until(client, job_id, "step", events[-1]["seq"])
    started = next(event for event in events if event["type"] == "job.started")
    with pipe.open("wb"):
        os.kill(started["data"]["pid"], signal.SIGKILL)
    events += follow_until(client, job_id, "job.completed", events[-1]["seq"])
    payload = payload_of(client, job_id)
    whole(events, payload, request["trainingConfig"]["epochs"])
    failed = next(event for event in events if event["type"] == "attempt.failed")
    restored = next(event for event in events if event["type"] == "run.restored")
    assert Path(restored["data"]["path"]).parent == Path(failed["data"]["fromCheckpoint"]).parent
    assert payload["attempts"][0]["ended"] == "worker_lost"
    assert digest(payload) == undisturbed


@pytest.mark.timeout(180)
def test_a_paused_training_goes_on_where_it_was(training: tuple[Path, httpx.Client, dict[str, Any], str], pipe: Path):
    home, client, request, undisturbed = training
    job_id = client.post("/v1/jobs", json=request).json()["jobId"]
    events = follow_until(client, job_id, "epoch.completed")
    events += follow_until(client, job_id, "step", events[-1]["seq"])
    with pipe.open("wb"):
        client.post(f"/v1/jobs/{job_id}/pause")
    events += follow_until(client, job_id, "job.paused", events[-1]["seq"])
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "paused"
    assert marked(f"PYTORCH_TRAINER_ATTEMPT={home / 'jobs' / job_id / 'attempts' / '1'}") == []
    # What it had done and what it goes on from is the same step: a pause loses nothing.
    last = max(event["data"]["step"] for event in events if event["type"] == "step")
    client.post(f"/v1/jobs/{job_id}/resume")
    events += follow_until(client, job_id, "job.completed", events[-1]["seq"])
    restored = next(event for event in events if event["type"] == "run.restored")
    assert restored["data"]["step"] == last
    payload = payload_of(client, job_id)
    whole(events, payload, request["trainingConfig"]["epochs"])
    assert payload["attempts"][0]["ended"] == "paused"
    assert digest(payload) == undisturbed


@pytest.mark.timeout(180)
def test_a_training_that_is_stopped_keeps_what_it_has(
    training: tuple[Path, httpx.Client, dict[str, Any], str], pipe: Path
):
    _, client, request, _ = training
    job_id = client.post("/v1/jobs", json=request).json()["jobId"]
    follow_until(client, job_id, "epoch.completed")
    with pipe.open("wb"):
        client.post(f"/v1/jobs/{job_id}/stop")
    follow_until(client, job_id, "job.completed")
    payload = client.get(f"/v1/jobs/{job_id}/result").json()
    assert payload["status"] == "early_stopped"
    assert 1 <= len(payload["learningCurve"]) < request["trainingConfig"]["epochs"]
    assert Path(payload["checkpointPath"], "model.safetensors").is_file()
