"""What a client asks of a job over HTTP: pause, resume, stop, retry; each with its state, its limits and its next move."""

import json
from collections.abc import Iterator

import pytest

from tests.app.listening import FAILS, WHOLE, Listening, check_problem, listening
from tests.app.supervision.test_orders import OBEYS
from tests.app.workspace import TORCH_MODEL


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("actions"), slots=2, retry_rest_seconds=0.0) as running:
        yield running


def test_a_job_is_paused_and_goes_on(service: Listening):
    job_id = service.submit(OBEYS)
    view = service.until(job_id, "epoch")
    asked = service.client.post(f"/v1/jobs/{job_id}/pause")
    assert asked.status_code in (200, 202)
    while view["state"] != "paused":
        view = service.until(job_id, "state", view["lastSeq"])
    assert view["allowedActions"] == ["resume", "cancel"]
    assert view["nextAction"]["operation"] == "resume_job"
    assert view["summary"].startswith("paused: it waits to be resumed")
    assert service.client.post(f"/v1/jobs/{job_id}/pause").status_code == 200
    assert service.client.get(f"/v1/jobs/{job_id}/result").status_code == 202
    check_problem(service.client.post(f"/v1/jobs/{job_id}/stop"), 409, "action_not_allowed")
    assert service.client.post(f"/v1/jobs/{job_id}/resume").status_code == 202
    service.open_gate(job_id)
    assert service.settled(job_id)["state"] == "succeeded"
    problem = check_problem(service.client.post(f"/v1/jobs/{job_id}/resume"), 409, "action_not_allowed")
    assert "cannot be resumed" in problem["detail"]


def test_a_stopped_job_has_a_result(service: Listening):
    job_id = service.submit(OBEYS)
    service.until(job_id, "epoch")
    assert service.client.post(f"/v1/jobs/{job_id}/stop").status_code == 202
    assert service.settled(job_id)["state"] == "early_stopped"
    assert service.client.get(f"/v1/jobs/{job_id}/result").json()["status"] == "early_stopped"


def test_a_failed_job_is_tried_again_as_a_new_one(service: Listening):
    failed = service.submit(FAILS, labels={"who": "me"})
    assert service.settled(failed)["allowedActions"] == ["retry", "delete"]
    # The model file as it is now: somebody has mended it meanwhile.
    service.model(WHOLE)
    key = {"Idempotency-Key": f"again-{failed}"}
    again = service.client.post(f"/v1/jobs/{failed}/retry", headers=key)
    assert again.status_code == 202
    job_id = again.json()["jobId"]
    assert job_id != failed
    assert again.json()["labels"] == {"who": "me"}
    assert service.settled(job_id)["state"] == "succeeded"
    assert service.client.post(f"/v1/jobs/{failed}/retry", headers=key).json()["jobId"] == job_id
    check_problem(service.client.post(f"/v1/jobs/{job_id}/retry"), 409, "action_not_allowed")
    check_problem(service.client.post("/v1/jobs/job_unknown/retry"), 404, "job_not_found")


@pytest.mark.parametrize("anew", [False, True])
def test_a_new_job_goes_on_from_what_the_failed_one_saved_unless_told_not_to(service: Listening, anew: bool):
    saves = """
saved = Path(assignment["runFolder"], "epoch-0001")
saved.mkdir(parents=True)
say("checkpoint.saved", path=str(saved), kind="epoch", epoch=1, step=1, bytes=1, sha256="")
"""
    failed = service.submit(saves + FAILS)
    service.settled(failed)
    service.model(WHOLE)
    answer = service.client.post(f"/v1/jobs/{failed}/retry", params={"anew": anew})
    job_id = answer.json()["jobId"]
    service.settled(job_id)
    assignment = json.loads((service.settings.jobs / job_id / "attempts/1/assignment.json").read_text())
    wanted = None if anew else str(service.settings.jobs / failed / "run")
    assert assignment["request"].get("checkpointConfig", {}).get("resumeFrom") == wanted


def test_a_retry_of_what_is_not_valid_any_more_is_refused_with_the_reason(service: Listening):
    failed = service.submit(FAILS)
    service.settled(failed)
    (service.settings.workspace / "model.py").unlink()
    problem = check_problem(service.client.post(f"/v1/jobs/{failed}/retry"), 422, "input_invalid")
    assert problem["errors"][0]["pointer"] == "/modelPath"
    (service.settings.workspace / "model.py").write_text(TORCH_MODEL)


def test_a_mistyped_job_leads_to_the_right_one(service: Listening):
    job_id = service.submit(WHOLE)
    service.settled(job_id)
    problem = check_problem(service.client.get(f"/v1/jobs/{job_id[:-1]}"), 404, "job_not_found")
    assert problem["nextAction"] == {"operation": "get_job", "arguments": {"jobId": job_id}, "afterSeconds": 0}
    assert job_id in problem["detail"]


def test_the_manifest_is_sent_again_only_when_it_has_changed(service: Listening):
    first = service.client.get("/v1/skills/pytorch-trainer")
    assert first.json()["name"] == "pytorch-trainer"
    again = service.client.get("/v1/skills/pytorch-trainer", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_refused_input_says_what_to_do_next(service: Listening):
    problem = check_problem(service.client.post("/v1/jobs", json={"modelPath": 1}), 422, "input_invalid")
    assert problem["nextAction"]["operation"] == "plan_training"
    mended = service.client.post("/v1/jobs", json={**service.model(WHOLE), "labls": {}})
    assert check_problem(mended, 422, "input_invalid")["nextAction"]["operation"] == "create_job"
    mended = service.client.post("/v1/skills/pytorch-trainer/invoke", json={**service.model(WHOLE), "labls": {}})
    assert check_problem(mended, 422, "input_invalid")["nextAction"]["operation"] == "invoke_skill"
