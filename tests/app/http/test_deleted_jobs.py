"""Deleting over HTTP: 204, then 410 with what is known, everywhere; and what may not be deleted."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.problems import Tombstone
from tests.app.listening import WHOLE, Listening, check_problem, listening

RUNS = f"epoch(1); gate('go'); {WHOLE}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("deleted"), slots=4) as running:
        yield running


def test_a_deleted_job_is_gone_everywhere_and_says_so(service: Listening):
    saved = {"checkpointConfig": {"saveDir": "runs"}}
    keeps = (
        f"Path(assignment['runFolder']).mkdir(parents=True); (Path(assignment['runFolder']) / 'best').touch(); {WHOLE}"
    )
    job_id = service.submit(keeps, **saved)
    assert service.settled(job_id)["allowedActions"] == ["delete"]
    folder = service.settings.jobs / job_id
    assert folder.is_dir()
    assert [service.client.delete(f"/v1/jobs/{job_id}").status_code for _ in range(2)] == [204, 204]
    assert not folder.exists()
    assert (service.settings.workspace / "runs" / job_id / "best").exists()
    paths = service.client.get("/openapi.json").json()["paths"]
    about = [(method, path) for path, methods in paths.items() for method in methods if path.startswith("/v1/jobs/{")]
    assert len(about) >= 10
    for method, path in about:
        if method == "delete":
            continue
        answer = service.client.request(method, re.sub(r"\{job_id\}", job_id, path))
        problem = check_problem(answer, 410, "job_deleted")
        left = Tombstone.model_validate(problem["tombstone"])
        assert (left.job_id, left.state) == (job_id, "succeeded")
        assert left.deleted_at in problem["detail"]
        assert "410" in paths[path][method]["responses"], path
    assert job_id not in service.client.get("/v1/jobs", params={"limit": 200}).text
    check_problem(service.client.delete("/v1/jobs/job_none"), 404, "job_not_found")


def test_what_has_not_ended_or_is_gone_on_from_is_not_deleted(service: Listening):
    job_id = service.submit(RUNS)
    service.until(job_id, "epoch")
    problem = check_problem(service.client.delete(f"/v1/jobs/{job_id}"), 409, "action_not_allowed")
    assert problem["allowedActions"] == ["pause", "stop", "cancel"]
    service.open_gate(job_id)
    service.settled(job_id)
    (service.settings.jobs / job_id / "run").mkdir(exist_ok=True)
    user = service.submit(RUNS, checkpointConfig={"resumeFrom": str(service.settings.jobs / job_id / "run")})
    problem = check_problem(service.client.delete(f"/v1/jobs/{job_id}"), 409, "action_not_allowed")
    assert user in problem["detail"]
    assert problem["nextAction"]["arguments"]["jobId"] == user
    service.open_gate(user)
    service.settled(user)
    assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204


def test_a_key_of_a_deleted_job_trains_nothing_again(service: Listening):
    body, headers = service.model(WHOLE), {"Idempotency-Key": "once and for all"}
    job_id = service.client.post("/v1/jobs", json=body, headers=headers).json()["jobId"]
    service.settled(job_id)
    assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    folders = set(service.settings.jobs.iterdir())
    problem = check_problem(service.client.post("/v1/jobs", json=body, headers=headers), 410, "job_deleted")
    assert (problem["tombstone"]["jobId"], "new key" in problem["detail"]) == (job_id, True)
    other = {**body, "labels": {"a": "b"}}
    check_problem(service.client.post("/v1/jobs", json=other, headers=headers), 422, "idempotency_conflict")
    assert set(service.settings.jobs.iterdir()) == folders


def test_a_service_that_starts_cleans_up_by_its_policy(tmp_path: Path):
    with listening(tmp_path) as service:
        jobs = [service.submit(WHOLE) for _ in range(3)]
        assert [service.settled(job_id)["state"] for job_id in jobs] == ["succeeded"] * 3
    with listening(tmp_path, keep_jobs=1) as service:
        service.server._app.state.service.disposal.sweep()
        assert [view["jobId"] for view in service.client.get("/v1/jobs").json()["jobs"]] == [jobs[2]]
