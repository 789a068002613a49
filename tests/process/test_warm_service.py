"""A service with a nursery: real trainings in forked workers, and what becomes of them when one or the other is killed."""

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.supervision.processes import Process
from tests.process.real_service import ending_trainings, follow_until, next_nursery, serving, write_workspace


def submit(client: httpx.Client, request: dict[str, Any], **training: Any) -> tuple[str, dict[str, Any], int]:
    """A job that is at work: its id, what its worker said first, and the number of its newest event."""
    changed = {**request, "trainingConfig": {**request["trainingConfig"], **training}}
    job_id = client.post("/v1/jobs", json=changed).json()["jobId"]
    events = follow_until(client, job_id, "step")
    return job_id, next(event["data"] for event in events if event["type"] == "job.started"), events[-1]["seq"]


def held(pid: int) -> Process:
    found = Process.find(pid)
    assert found is not None
    return found


def error_of(client: httpx.Client, job_id: str) -> str:
    return str(client.get(f"/v1/jobs/{job_id}/result").json()["error"]["message"])


@pytest.mark.timeout(180)
def test_workers_go_on_when_nursery_or_service_is_killed(tmp_path: Path):
    home, workspace = tmp_path / "home", tmp_path / "workspace"
    request = {**write_workspace(workspace), "limits": {"maxAttempts": 1}}
    with ending_trainings(home):
        with serving(home, workspace, PT_WARM="on", PT_SLOTS="2") as (service, client):
            first_nursery = next_nursery(service)
            job_id, started, seen = submit(client, request, epochs=1000)
            assert started["start"] == "warm"
            os.kill(first_nursery, signal.SIGKILL)
            seen = follow_until(client, job_id, "epoch.completed", seen)[-1]["seq"]
            os.kill(started["pid"], signal.SIGKILL)
            follow_until(client, job_id, "job.completed", seen)
            assert "how is not known" in error_of(client, job_id)

            nursery = held(next_nursery(service))
            job_id, started, seen = submit(client, request, epochs=1000)
            assert started["start"] == "warm"
            os.kill(started["pid"], signal.SIGKILL)
            follow_until(client, job_id, "job.completed", seen)
            assert "killed by SIGKILL" in error_of(client, job_id)

            job_id, started, seen = submit(client, request, epochs=8)
            assert started["start"] == "warm"
            service.kill()
            assert nursery.has_ended(60_000)
            assert not held(started["pid"]).has_ended()
        with serving(home, workspace) as (_, client):
            events = follow_until(client, job_id, "job.completed", seen)
            assert (events[-1]["data"]["state"], events[-1]["attempt"]) == ("succeeded", 1)
            assert [event["seq"] for event in events] == list(range(seen + 1, seen + 1 + len(events)))
