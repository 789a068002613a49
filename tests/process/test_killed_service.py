"""The whole product: a real service is killed in the middle of an epoch of a real training, and nothing is lost."""

import json
import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.process.real_service import EPOCHS, ROOT, ending_trainings, follow_until, serving, write_workspace


@pytest.mark.timeout(180)
def test_a_service_killed_in_mid_epoch_loses_and_doubles_nothing(tmp_path):
    home, workspace = tmp_path / "home", tmp_path / "workspace"
    request = write_workspace(workspace)
    with ending_trainings(home):
        with serving(home, workspace) as (service, client):
            job_id = client.post("/v1/jobs", json=request).json()["jobId"]
            before = follow_until(client, job_id, "step")
            os.kill(service.pid, signal.SIGKILL)
            assert service.wait() == -signal.SIGKILL
        with serving(home, workspace) as (_, client):
            after = follow_until(client, job_id, "job.completed", before[-1]["seq"])
            payload = client.get(f"/v1/jobs/{job_id}/result").json()
            view = client.get(f"/v1/jobs/{job_id}").json()

    events = [*before, *after]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert {event["attempt"] for event in events} == {0, 1}
    assert (view["state"], view["attempt"]) == ("succeeded", 1)
    steps = [event["data"]["step"] for event in events if event["type"] == "step"]
    assert all(second == first + 1 for first, second in pairwise(steps))
    assert [row["epoch"] for row in payload["learningCurve"]] == list(range(1, EPOCHS + 1))
    assert payload["status"] == "success"
    assert Path(payload["checkpointPath"], "model.safetensors").is_file()
    for name in ("seed.output", "output"):
        schema = json.loads((ROOT / "schemas" / "json" / f"{name}.schema.json").read_text())
        Draft202012Validator(schema).validate(payload)


@pytest.mark.timeout(180)
def test_a_service_that_is_told_to_end_leaves_its_training_to_the_next_one(tmp_path):
    # A path is any path.
    home, workspace = tmp_path / "mój dom '日本'", tmp_path / "Arbeits-\tplatz"
    request = write_workspace(workspace)
    with ending_trainings(home):
        with serving(home, workspace) as (service, client):
            job_id = client.post("/v1/jobs", json=request).json()["jobId"]
            before = follow_until(client, job_id, "step")
            service.terminate()
            assert service.wait(100) == 0
        with serving(home, workspace) as (_, client):
            after = follow_until(client, job_id, "job.completed", before[-1]["seq"])
    assert [event["seq"] for event in [*before, *after]] == list(range(len(before) + len(after)))
    assert (after[-1]["data"]["state"], after[-1]["attempt"]) == ("succeeded", 1)
    assert Path(after[-1]["data"]["output"]["checkpointPath"]).is_relative_to(home)
