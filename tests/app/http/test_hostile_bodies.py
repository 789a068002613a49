"""Bodies and headers that are meant to break something: each is answered with a problem, never with a 5xx."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.gate.test_raw_json import REFUSED
from tests.app.listening import SKILL, Listening, address_of, check_problem, listening
from tests.app.workspace import REQUEST, changed


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("hostile")) as running:
        yield running
        # After all of them the service is what it was.
        assert running.client.get("/readyz").status_code == 200
        assert running.client.get("/v1/jobs").json()["jobs"] == []


DEEP = '{"a":' * 60 + "1" + "}" * 60
DOCUMENTS: dict[str, object] = {
    "null": None,
    "true": True,
    "number": 1,
    "text": "text",
    "list": [],
    "empty": {},
    "list of requests": [REQUEST],
    "request as text": json.dumps(REQUEST),
    "huge integer": changed("trainingConfig", "saveEvery", 10**299),
    "huge float as integer": changed("checkpointConfig", "saveEvery", 1e300),
    "negative zero": changed("trainingConfig", "learningRate", -0.0),
    "smallest float": changed("trainingConfig", "learningRate", 5e-325),
    "NUL in a path": changed("modelPath", "a\0b.py"),
    "long path": changed("modelPath", "a/" * 5000),
    "long name": changed("modelPath", "a" * 5000),
    "dots": changed("modelPath", "../" * 200 + "etc/passwd"),
    "device file": changed("dataConfig", "trainPath", "/dev/zero"),
    "proc": changed("modelPath", "/proc/self/environ"),
    "newline in a monitor": changed("checkpointConfig", "monitor", "valLoss\n"),
    "newline in a class name": changed("modelConfig", {"className": "Net\n"}),
    "line separators": changed("labels", {"\u2028": "\u2029"}, base=changed("modelPath", "no.py")),
    "right to left": changed("modelPath", "\u202egnp.py"),
    "escape sequences": changed("modelPath", "\x1b[2J\x07.py"),
    "format string": changed("modelPath", "%s%n{0}{__class__}.py"),
    "SQL": changed("engine", "'; DROP TABLE job; --"),
    "prototype": {**REQUEST, "__proto__": {"x": 1}, "constructor": 1},
    "key is a pointer": changed("/modelPath", "x"),
    "key is a tilde": changed("~1~0", "x"),
    "empty key": changed("", 1),
    "long key": changed("k" * 100_000, 1),
    "many keys": {**REQUEST, **{f"k{number}": number for number in range(20_000)}},
    "many items": changed("dataConfig", "features", list(range(50_000))),
    "many labels": changed("labels", {str(number): "x" for number in range(5000)}),
    "deep in free form": changed("modelConfig", {"args": json.loads(DEEP)}, base=changed("modelPath", "no.py")),
    "optimizer is a list": changed("trainingConfig", "optimizer", ["AdamW", "SGD"]),
    "optimizer arguments are a list": changed("trainingConfig", "optimizerArgs", ["betas"]),
    "everything is null": dict.fromkeys(REQUEST, None),
    "envelope in an envelope": {
        "kind": "skill",
        "skill": {"name": "pytorch-trainer", "context": {"kind": "skill", "skill": {}}},
    },
    "skill is text": {"kind": "skill", "skill": "pytorch-trainer"},
    "kind is a list": {"kind": ["skill"], "skill": {"name": ["pytorch-trainer"], "context": {}}},
}


@pytest.mark.parametrize("path", ["/v1/jobs", f"{SKILL}/invoke"])
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_hostile_document_is_a_422(service: Listening, document: object, path: str):
    sent: dict[str, Any] = {"content": json.dumps(document), "headers": {"Content-Type": "application/json"}}
    problem = check_problem(service.client.post(path, **sent), 422, "input_invalid")
    assert problem["errors"]
    assert service.client.post(f"{SKILL}/plan", **sent).status_code == 200


@pytest.mark.parametrize("body", [body for body, *_ in REFUSED], ids=lambda body: repr(body)[:30])
def test_what_is_no_strict_json_is_a_400_that_names_the_place(service: Listening, body: bytes):
    for path in ("/v1/jobs", f"{SKILL}/invoke", f"{SKILL}/plan"):
        answer = service.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert "line " in check_problem(answer, 400, "malformed_json")["detail"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_a_mebibyte_is_refused_before_it_is_read(service: Listening, chunked: bool):
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 65536

    content = chunks() if chunked else b" " * (1024 * 1024 + 1)
    headers = {"Content-Type": "application/json"}
    check_problem(service.client.post("/v1/jobs", content=content, headers=headers), 413, "body_too_large")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": "\x7f/\x7f"},
    ],
)
def test_what_is_not_sent_as_json_is_a_415(service: Listening, headers: dict[str, str]):
    answer = service.client.post("/v1/jobs", content=json.dumps(REQUEST), headers=headers)
    check_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.task+json; charset=UTF-8", None])
def test_json_by_any_name_is_taken(service: Listening, kind: str | None):
    request = service.client.build_request("POST", f"{SKILL}/plan", content=json.dumps(REQUEST))
    if kind:
        request.headers["Content-Type"] = kind
    assert service.client.send(request).json()["verdict"] == "ready"


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_of_no_use_is_refused(service: Listening, key: str):
    answer = service.client.post("/v1/jobs", json=REQUEST, headers={"Idempotency-Key": key})
    check_problem(answer, 422, "parameter_invalid")


PATHS = [
    "/v1/jobs/%00",
    "/v1/jobs/%ff%fe",
    "/v1/jobs/..%2f..%2ftoken",
    "/v1/jobs/" + "x" * 5000,
    "//evil.com/",
    "/v1//jobs",
]
PATHS += [
    "/v1/jobs?cursor=%00",
    "/v1/jobs?label=%ed%a0%80:x",
    "/v1/jobs?limit=1e9",
    "/v1/jobs/x/logs?tail=99999999999999999999",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_hostile_path_is_never_an_error_of_ours(service: Listening, path: str):
    answer = service.client.get(path)
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/v1/job", "/v1/jobs"),
        ("/v1/jobs/", "/v1/jobs"),
        ("/v1/jobs/job_1/stopp", "/v1/jobs/job_1/stop"),
        ("/v1/job/job_1/events", "/v1/jobs/job_1/events"),
        ("/v1/skills/pytorch-traner/plan", SKILL + "/plan"),
    ],
)
def test_a_wrong_address_leads_to_the_right_one(service: Listening, path: str, near: str):
    for method in ("GET", "POST"):
        problem = check_problem(service.client.request(method, path), 404, "not_found")
        assert problem["detail"].endswith(f" Near it: {near}.")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, POST"),
        ("PATCH", "/v1/jobs/job_1", "DELETE, GET"),
        ("GET", f"{SKILL}/invoke", "POST"),
        ("POST", "/docs", "GET"),
    ],
)
def test_a_wrong_method_leads_to_the_right_ones(service: Listening, method: str, path: str, allowed: str):
    answer = service.client.request(method, path)
    problem = check_problem(answer, 405, "method_not_allowed")
    assert problem["detail"] == f"{path} takes {allowed}, not {method}."
    assert answer.headers["allow"] == allowed


def test_a_body_that_breaks_off_harms_nobody(service: Listening):
    with socket.create_connection(address_of(service)) as connection:
        head = (
            f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: {service.client.headers['authorization']}\r\n"
        )
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{{".encode())
    assert service.client.get("/readyz").status_code == 200


def test_an_error_of_ours_shows_nothing_of_the_inside(tmp_path):
    with listening(tmp_path) as broken:

        @broken.server.config.app.get("/v1/broken")  # type: ignore[union-attr]
        async def fail() -> None:
            raise RuntimeError("secret of the house")

        problem = check_problem(broken.client.get("/v1/broken"), 500, "internal")
        assert "secret" not in json.dumps(problem)
        assert "incident" in problem["detail"]
