"""Scopes over HTTP: every operation asks for one, and for no more than that."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from app.http.scopes import NEEDED, OPEN
from schemas.tokens import ALLOWS, Scope
from tests.app.listening import SKILL, Listening, check_problem, client_of, listening


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("scopes")) as running:
        yield running


@pytest.fixture(scope="module")
def operations(service: Listening) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, a path that leads to nothing, and the operation, for every one in the OpenAPI document."""
    paths = service.client.get("/openapi.json").json()["paths"]
    names = {"{name}": "input"}
    return [
        (method.upper(), re.sub(r"\{\w+\}", lambda found: names.get(found[0], "job_none"), path), operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]


def make(service: Listening, name: str, *scopes: str, **rest: Any) -> dict[str, Any]:
    """A new token."""
    answer = service.client.post("/v1/tokens", json={"name": name, "scopes": list(scopes), **rest})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    made: dict[str, Any] = answer.json()
    return made


def holder(service: Listening, token: str) -> httpx.Client:
    """A client that has this token."""
    client = client_of(service.settings, service.server.url)
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def test_every_operation_is_in_the_table_and_every_entry_an_operation(operations: list[tuple[str, str, dict]]):
    names = {operation["operationId"] for _, _, operation in operations}
    assert names == set(NEEDED) | OPEN
    assert not set(NEEDED) & OPEN


def test_every_operation_says_which_scope_it_needs(operations: list[tuple[str, str, dict]]):
    for _, _, operation in operations:
        name = operation["operationId"]
        if name in OPEN:
            assert "security" not in operation
            continue
        assert operation["security"] == [{"HTTPBearer": [NEEDED[name]]}]
        assert f"Needs the scope `{NEEDED[name]}`." in operation["description"]
        assert {"401", "403"} <= set(operation["responses"]), name


def test_who_may_only_look_changes_nothing(operations: list[tuple[str, str, dict]]):
    for method, _, operation in operations:
        if operation["operationId"] not in OPEN:
            assert NEEDED[operation["operationId"]] in (
                ("read", "admin") if method == "GET" else ("submit", "control", "admin")
            )
    running_code = {"invoke_skill", "create_job", "retry_job"}
    assert {NEEDED[name] for name in running_code} == {"submit"}


@pytest.mark.parametrize("scope", get_args(Scope))
def test_a_token_opens_what_its_scope_allows_and_nothing_else(
    service: Listening, operations: list[tuple[str, str, dict]], scope: Scope
):
    made = make(service, f"only-{scope}", scope)
    with holder(service, made["token"]) as client:
        for method, path, operation in operations:
            name = operation["operationId"]
            answer = client.request(method, path)
            if name in OPEN or NEEDED[name] in ALLOWS[scope]:
                assert answer.status_code not in (401, 403), (name, answer.text)
                continue
            problem = check_problem(answer, 403, "scope_missing")
            assert f"scope {NEEDED[name]!r}" in problem["detail"]
            assert f"pytorch-trainer token create --name NAME --scope {NEEDED[name]}" in problem["detail"]
            assert f'scope="{NEEDED[name]}"' in answer.headers["www-authenticate"]
            assert problem["recovery"] == "ask_owner"


def test_a_refused_body_is_not_read_and_nothing_is_queued(service: Listening):
    made = make(service, "reader", "read")
    with holder(service, made["token"]) as client:
        check_problem(client.post("/v1/jobs", json=service.model("end('succeeded')")), 403, "scope_missing")
        check_problem(client.post(f"{SKILL}/invoke", content=b"x" * (2 << 20)), 403, "scope_missing")
        assert client.get("/v1/jobs").json() == {"jobs": []}


def test_a_token_is_listed_used_and_revoked_at_once(service: Listening):
    made = make(service, "agent", "submit", expiresInSeconds=3600)
    listed = {token["name"]: token for token in service.client.get("/v1/tokens").json()["tokens"]}["agent"]
    assert listed == {key: value for key, value in made.items() if key != "token"}
    with holder(service, made["token"]) as client:
        assert client.get("/v1/jobs").status_code == 200
        assert service.client.delete("/v1/tokens/agent").status_code == 204
        check_problem(client.get("/v1/jobs"), 401, "unauthorized")
    check_problem(service.client.delete("/v1/tokens/agent"), 404, "token_not_found")
    check_problem(service.client.delete("/v1/tokens/owner"), 404, "token_not_found")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"name": "x", "scopes": ["everything"]}, "expected one of read, submit, control, admin"),
        ({"name": "x", "scopes": []}, "expected a list, not empty"),
        ({"name": "", "scopes": ["read"]}, "of at most 64 characters that matches ^[A-Za-z0-9]"),
        ({"name": "a b", "scopes": ["read"]}, 'name is "a b"; expected text of at most 64 characters that matches'),
        ({"name": "x" * 65, "scopes": ["read"]}, "expected text of at most 64 characters"),
        ({"name": "x", "scopes": ["read"], "expiresInSeconds": 0}, "expected a number greater than 0"),
        ({"name": "x", "scopes": ["read"], "expiresInSeconds": 1e99}, "and at most 3153600000"),
        ({"name": "x", "scope": ["read"]}, "scope is no property here; known are name, scopes, expiresInSeconds"),
        ({"name": "x"}, "scopes is missing; expected a list, not empty"),
        (["read"], 'the body is ["read"]; expected an object'),
    ],
)
def test_a_wrong_wish_is_refused_with_its_place(service: Listening, wanted: Any, words: str):
    problem = check_problem(service.client.post("/v1/tokens", json=wanted), 422, "parameter_invalid")
    assert words in problem["detail"]
    assert problem["errors"]
    check_problem(service.client.post("/v1/tokens", content=b'{"name": NaN}'), 400, "malformed_json")


def test_the_manifest_says_which_scope_a_call_needs(service: Listening):
    scopes = service.client.get(SKILL).json()["scopes"]
    assert (scopes["invoke_skill"], scopes["get_job"], scopes["cancel_job"]) == ("submit", "read", "control")


def test_a_service_without_authentication_lets_everybody_do_everything(tmp_path: Path):
    with listening(tmp_path, auth=False) as service, httpx.Client(trust_env=False) as client:
        url = service.server.url
        assert client.post(f"{url}/v1/tokens", json={"name": "later", "scopes": ["read"]}).status_code == 201
        assert client.post(f"{url}/v1/jobs", json=service.model("end('succeeded')")).status_code == 202
