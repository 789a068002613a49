"""The API's own description is enough to use it: ids, examples, the Authorize button, and schemas that resolve."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from app.gate.request_schema import load
from app.http.routes.examples import EVENT, PAYLOAD, PLAN, PROBLEM, VIEW
from app.main import create_app
from app.settings import Settings
from schemas.job import JobView
from tests.app.listening import listening

OPERATIONS = {
    "invoke_skill", "plan_training", "list_skills", "get_skill", "get_skill_schema", "create_job", "list_jobs",
    "get_job", "get_job_events", "get_job_result", "get_job_logs", "cancel_job", "stop_job", "pause_job", "resume_job", "retry_job", "get_capabilities", "check_health",
    "check_readiness", "create_token", "list_tokens", "revoke_token", "delete_job", "get_metrics", "get_job_deliveries",
}  # fmt: skip


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("home")
    return create_app(Settings(home=home, workspace=home)).openapi()


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def test_operation_ids_are_stable(document: dict[str, Any]):
    assert {operation["operationId"] for operation in operations(document)} == OPERATIONS


def test_every_operation_is_described_and_every_body_has_an_example(document: dict[str, Any]):
    for operation in operations(document):
        name = operation["operationId"]
        assert operation["summary"], name
        assert operation["tags"], name
        assert all(parameter.get("description") for parameter in operation.get("parameters", [])), name
        for body in [operation.get("requestBody", {}), *operation["responses"].values()]:
            for kind, content in body.get("content", {}).items():
                if kind == "application/problem+json" or body.get("required"):
                    assert "example" in content or "examples" in content, (name, kind)


def test_every_operation_names_the_refusals_that_each_may_meet(document: dict[str, Any]):
    for operation in operations(document):
        if "security" in operation:
            assert {"401", "403", "429", "500", "503"} <= operation["responses"].keys(), operation["operationId"]


def test_a_bearer_token_is_asked_for_where_it_is_needed(document: dict[str, Any]):
    assert document["components"]["securitySchemes"] == {
        "HTTPBearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "The owner's token, which `pytorch-trainer token` prints, or one that was made from it.",
        }
    }
    unlocked = {operation["operationId"] for operation in operations(document) if not operation.get("security")}
    assert unlocked == {"check_health", "check_readiness"}


def test_every_reference_leads_somewhere(document: dict[str, Any]):
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))):
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_the_examples_of_the_documentation_are_valid(document: dict[str, Any]):
    for example, schema in ((PAYLOAD, "output"), (PROBLEM, "problem"), (PLAN, "plan"), (EVENT, "event")):
        Draft202012Validator(load(schema)).validate(example)
    JobView.model_validate(VIEW)
    content = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    for name, example in content["examples"].items():
        schema = {**document, "$ref": "#/components/schemas/" + ("Envelope" if name == "envelope" else "Input")}
        Draft202012Validator(schema).validate(example["value"])


def test_the_documentation_page_is_whole_without_a_network(tmp_path: Path):
    with listening(tmp_path) as service, httpx.Client(base_url=service.server.url, trust_env=False) as stranger:
        page = stranger.get("/docs").text
        places = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert len(places) == 3
        assert [place for place in places if not place.startswith(("/docs/", "data:"))] == []
        script, style = stranger.get("/docs/swagger-ui-bundle.js"), stranger.get("/docs/swagger-ui.css")
        assert (script.status_code, style.status_code) == (200, 200)
        assert script.headers["content-type"].startswith("text/javascript")
        assert re.search(r'PACKAGE_VERSION:"5\.', script.text)  # 4 does not know OpenAPI 3.1
        assert stranger.get("/docs/favicon.png").status_code == 401
