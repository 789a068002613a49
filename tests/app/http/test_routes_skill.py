"""The skill over HTTP: invoked with a wait, planned, described."""

import json
from collections.abc import Iterator
from typing import get_args

import pytest
from jsonschema import Draft202012Validator

from app.cli.stream import messages_of
from app.gate.request_schema import load
from app.http.manifest import EXAMPLE
from app.supervision.payload import check
from schemas.exporting import ExportFormat
from schemas.job import JobView
from schemas.plan import Plan
from tests.app.listening import SKILL, WHOLE, Listening, check_problem, listening
from tests.app.workspace import REQUEST, changed

HOLDS = f"epoch(1); gate('go'); {WHOLE}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("skill"), slots=4) as running:
        yield running


def test_a_training_that_ends_within_the_wait_is_answered_with_its_payload(service: Listening):
    answer = service.client.post(f"{SKILL}/invoke", json=service.model(WHOLE), headers={"Prefer": "wait=30"})
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert check(answer.json()) == []
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['jobId']}"


@pytest.mark.parametrize(("prefer", "applied"), [("respond-async", "respond-async"), ("foo, Wait = 0", "wait=0")])
def test_a_training_that_takes_longer_is_answered_with_its_job(service: Listening, prefer: str, applied: str):
    answer = service.client.post(f"{SKILL}/invoke", json=service.model(HOLDS), headers={"Prefer": prefer})
    view = JobView.model_validate(answer.json())
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == applied
    assert answer.headers["location"] == f"/v1/jobs/{view.job_id}"
    assert "retry-after" in answer.headers
    assert view.next_action is not None
    service.open_gate(view.job_id)
    assert service.settled(view.job_id)["state"] == "succeeded"


def test_as_a_stream_an_invocation_ends_with_the_payload(service: Listening):
    headers = {"Accept": "text/event-stream"}
    with service.client.stream("POST", f"{SKILL}/invoke", json=service.model(HOLDS), headers=headers) as response:
        messages = []
        for message in messages_of(response.iter_bytes()):
            messages.append(message)
            if message.event == "epoch.completed":
                service.open_gate(response.headers["location"].rpartition("/")[2])
    assert [int(message.id) for message in messages[:-1]] == list(range(len(messages) - 1))
    assert (messages[-2].event, messages[-1].event) == ("job.completed", "result")
    payload = json.loads(messages[-1].data)
    assert check(payload) == []
    assert payload == json.loads(messages[-2].data)["data"]["output"]


def test_the_usage_example_of_the_skill_is_taken_as_it_stands(service: Listening):
    for document in (EXAMPLE, EXAMPLE["skill"]["context"]):
        plan = Plan.model_validate(service.client.post(f"{SKILL}/plan", json=document).json())
        assert (plan.verdict, plan.engine) == ("ready", "native")
        headers = {"Prefer": "respond-async"}
        view = service.client.post(f"{SKILL}/invoke", json=document, headers=headers).json()
        settled = service.settled(view["jobId"])
        # The stand-in worker cannot run a torch model; what counts here is that the request came to it.
        assert settled["engine"] == "native"
        stored = json.loads((service.settings.jobs / view["jobId"] / "attempts/1/assignment.json").read_text())
        assert stored["request"]["trainingConfig"]["gradientClipping"] == 1.0


def test_a_refused_invocation_says_everything_and_a_suggestion_that_is_taken(service: Listening):
    document = changed("trainingConfig", {"learningrate": "0.1", "optimizer": "adamm"}, base=service.model(WHOLE))
    problem = check_problem(service.client.post(f"{SKILL}/invoke", json=document), 422, "input_invalid")
    Draft202012Validator(load("problem")).validate(problem)
    assert [error["pointer"] for error in problem["errors"]] == [
        "/trainingConfig/learningrate",
        "/trainingConfig/optimizer",
    ]
    assert service.client.post(f"{SKILL}/invoke", json=problem["suggestedInput"]).status_code == 200


PLANS = [
    (REQUEST, "ready", "paths"),
    (changed("trainingConfig", "learningrate", 0.1), "ready_with_changes", "schema"),
    (changed("modelPath", "nowhere/at/all.py"), "blocked", "paths"),
    (changed("modelPath", "nowhere/at/all.py"), "ready", "schema"),
    ([], "blocked", "schema"),
]


def queued_so_far(service: Listening) -> list[str]:
    return [job["jobId"] for job in service.client.get("/v1/jobs", params={"limit": 200}).json()["jobs"]]


@pytest.mark.parametrize(("document", "verdict", "depth"), PLANS, ids=lambda value: str(value)[:40])
def test_a_plan_has_a_verdict_and_queues_nothing(service: Listening, document: object, verdict: str, depth: str):
    before = queued_so_far(service)
    answer = service.client.post(f"{SKILL}/plan?depth={depth}", json=document)
    assert answer.status_code == 200
    Draft202012Validator(load("plan")).validate(answer.json())
    plan = Plan.model_validate(answer.json())
    assert (plan.verdict, plan.depth) == (verdict, depth)
    assert (plan.resolved is not None) == (verdict == "ready")
    assert queued_so_far(service) == before


def test_a_plan_marks_what_was_filled_in(service: Listening):
    document = changed("dataConfig", "valSplit", 0.5)
    plan = Plan.model_validate(service.client.post(f"{SKILL}/plan", json=document).json())
    assert plan.resolved is not None
    assert plan.resolved["trainingConfig"]["optimizer"] == "AdamW"
    assert plan.resolved["modelPath"] == str(service.settings.workspace / "models/resnet.py")
    assert "/trainingConfig/optimizer" in plan.defaulted
    assert {"/trainingConfig/epochs", "/modelPath", "/dataConfig/valSplit"}.isdisjoint(plan.defaulted)
    assert [warning.code for warning in plan.warnings] == ["no_effect"]


def test_the_manifest_leads_to_the_schemas_and_its_examples_are_valid(service: Listening):
    listed = service.client.get("/v1/skills").json()["skills"]
    assert [skill["name"] for skill in listed] == ["pytorch-trainer"]
    manifest = service.client.get(listed[0]["url"]).json()
    assert manifest["limits"]["maxBodyBytes"] == 1024 * 1024
    schema = Draft202012Validator(service.client.get(manifest["schemas"]["input"]).json())
    assert [example for example in manifest["examples"] if "kind" not in example and not schema.is_valid(example)] == []
    for name, url in manifest["schemas"].items():
        answer = service.client.get(url)
        assert answer.json() == load(name)
        assert answer.headers["content-type"] == "application/schema+json"
        tag = answer.headers["etag"]
        assert service.client.get(url, headers={"If-None-Match": f'"x", W/{tag}'}).status_code == 304
        assert service.client.get(url, headers={"If-None-Match": '"x"'}).status_code == 200
    assert service.client.get(f"{SKILL}/schemas/secret.json").status_code == 422


def test_capabilities_name_what_a_request_can_name(service: Listening):
    found = service.client.get("/v1/capabilities").json()
    assert {engine["name"] for engine in found["engines"]} == {"native", "sklearn"}
    assert "AdamW" in {optimizer["name"] for optimizer in found["optimizers"]}
    assert [made["name"] for made in found["exports"]] == list(get_args(ExportFormat))
    assert found["devices"] == ["cpu"]
    assert found["workspace"] == str(service.settings.workspace)
    assert found["limits"]["maxDevices"] >= 2


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json, text/event-stream", 202),
        ("text/html", 406),
        ("*/*", 202),
        ("text/event-stream;q=0, application/*", 202),
    ],
)
def test_the_form_of_the_answer_is_chosen_by_accept(service: Listening, accept: str, status: int):
    headers = {"Accept": accept, "Prefer": "wait=0"}
    answer = service.client.post(f"{SKILL}/invoke", json=service.model(HOLDS), headers=headers)
    assert answer.status_code == status
    if status == 406:
        check_problem(answer, 406, "not_acceptable")
    else:
        service.open_gate(answer.json()["jobId"])
