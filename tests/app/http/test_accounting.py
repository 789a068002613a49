"""The account of a request: its name, its line in the log, and nothing in it that is nobody's business."""

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.http import error_handlers
from app.http.openapi import Api
from app.observing.log_lines import JsonLines, TextLines
from app.observing.metrics import Metrics
from app.observing.tracing import NoTracing
from tests.app.listening import FAILS, WHOLE, Listening, check_problem, listening

OURS = re.compile(r"req_[0-9A-Z]{26}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("accounting")) as running:
        yield running


class Lines(logging.Handler):
    """What the service logs, as JSON and as text."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self._more = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep both lines of a record."""
        with self._more:
            self.texts.append(TextLines().format(record))
            self.documents.append(json.loads(JsonLines().format(record)))
            self._more.notify_all()

    def requests(self, count: int) -> list[dict[str, Any]]:
        """The lines of so many requests, once they are there: they are written when the client has its answer already."""
        self.until(lambda: len(self._of_requests()) >= count)
        return self._of_requests()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it is so."""
        with self._more:
            assert self._more.wait_for(holds, 60)

    def _of_requests(self) -> list[dict[str, Any]]:
        return [line for line in self.documents if "route" in line]


@contextmanager
def heard(service: Listening) -> Iterator[Lines]:
    """All that is logged meanwhile, at every level."""
    lines, log = Lines(), logging.getLogger("app")
    level = log.level
    log.addHandler(lines)
    log.setLevel(logging.DEBUG)
    try:
        # Behind the lines of earlier requests, which may still be on their way.
        service.client.get("/healthz", headers={"X-Request-Id": "begin"})
        lines.until(lambda: bool(lines.documents) and lines.documents[-1].get("requestId") == "begin")
        lines.documents.clear()
        lines.texts.clear()
        yield lines
    finally:
        log.removeHandler(lines)
        log.setLevel(level)


@pytest.mark.parametrize("sent", ["a", "trace-7.x_y:z=+/", "9" * 64])
def test_the_clients_name_for_a_request_is_its_name(service: Listening, sent: str):
    answer = service.client.get("/v1/jobs/job_no", headers={"X-Request-Id": sent})
    assert answer.headers["x-request-id"] == sent
    assert check_problem(answer, 404, "job_not_found")["requestId"] == sent


@pytest.mark.parametrize("sent", ["", "9" * 65, "two words", "<script>", 'a"b', "ü".encode(), b"a\tb"])
def test_a_name_that_cannot_be_used_is_replaced(service: Listening, sent: str | bytes):
    answer = service.client.get("/v1/jobs", headers={"X-Request-Id": sent})
    assert OURS.fullmatch(answer.headers["x-request-id"])


def test_requests_have_names_of_their_own_whoever_answers_them(service: Listening):
    without = httpx.Client(base_url=service.server.url, trust_env=False)
    answers = [
        service.client.get("/healthz"),
        service.client.get("/nothing"),
        service.client.put("/v1/jobs"),
        service.client.get("/v1/jobs?limit=0"),
        without.get("/v1/jobs"),
        without.get("/v1/jobs", headers={"Host": "evil.example"}),
    ]
    names = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(names)) == len(names)
    problems = [answer for answer in answers if answer.status_code >= 400]
    assert [answer.status_code for answer in problems] == [404, 405, 422, 401, 403]
    assert all(answer.json()["requestId"] == answer.headers["x-request-id"] for answer in problems)


def test_an_answer_of_the_last_resort_is_accounted_for_too(service: Listening):
    metrics = Metrics()
    app = Api(metrics, NoTracing(), title="broken")
    error_handlers.install(app)

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError("canary")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/broken")

    with heard(service) as lines:
        answer = asyncio.run(ask())
        lines.requests(1)
    problem = check_problem(answer, 500, "internal")
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert {line["requestId"] for line in lines.documents} == {problem["requestId"]}
    last = lines.documents[-1]
    assert (last["level"], last["route"], last["status"], last["problem"]) == ("warning", "/broken", 500, "internal")
    assert "canary" not in "".join(lines.texts)


def test_a_request_is_one_line(service: Listening):
    with heard(service) as lines:
        service.client.get("/v1/jobs", headers={"X-Request-Id": "mine"})
        service.client.post("/v1/jobs", json={})
        service.client.get("/healthz")
        made = service.client.post("/v1/tokens", json={"name": "ci", "scopes": ["read"]}).json()["token"]
        service.client.get("/metrics", headers={"Authorization": f"Bearer {made}"})
        requests = lines.requests(5)
    assert len(requests) == 5
    first, second, third, _, fifth = requests
    assert {key: first[key] for key in ("level", "requestId", "method", "route", "status")} == {
        "level": "info",
        "requestId": "mine",
        "method": "GET",
        "route": "/v1/jobs",
        "status": 200,
    }
    assert 0 < first["ms"] < 30_000
    assert (second["status"], second["problem"]) == (422, "input_invalid")
    assert (third["route"], third["level"]) == ("/healthz", "debug")
    assert "token" not in third
    assert (first["token"], fifth["token"]) == ("the owner's token", "ci")
    assert lines.texts[-1].endswith(", token ci")
    assert made not in "".join(lines.texts)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d info    GET /v1/jobs 200, [\d.]+ ms, mine", lines.texts[0])


def test_the_life_of_a_job_is_told(service: Listening):
    started = "say('job.started', pid=1, engine='native', devices=['cpu'], versions={})\n"
    with heard(service) as lines:
        done, failed = service.submit(started + WHOLE), service.submit(started + FAILS)
        service.settled(done)
        service.settled(failed)
        lines.requests(4)
        # A job is seen to have ended when that is stored, and it is told then.
        lines.until(lambda: [line.get("event") for line in lines.documents].count("job.completed") == 2)
    told = [line for line in lines.documents if line.get("jobId") == done]
    assert [(line["event"], line["attempt"]) for line in told] == [
        ("job.queued", 0),
        ("job.started", 1),
        ("job.completed", 1),
    ]
    # The submission that made the job is the one that it is told with.
    asked = next(line for line in lines.documents if line.get("route") == "/v1/jobs")
    assert told[0]["requestId"] == asked["requestId"]
    end = next(line for line in lines.documents if line.get("jobId") == failed and line["event"] == "job.completed")
    assert (end["level"], end["state"], end["code"]) == ("warning", "failed", "diverged")


def test_no_secret_and_nothing_that_a_client_or_a_model_has_worded_is_logged(service: Listening):
    token = service.settings.token_file.read_text().strip()
    program = "print('canary'); say('log', level='error', stream='worker', text='canary')\n" + FAILS.replace(
        "The loss is NaN.", "canary"
    )
    with heard(service) as lines:
        service.settled(service.submit(program, labels={"canary": "canary"}))
        service.client.get("/v1/jobs/canary?label=canary:canary", headers={"Authorization": f"Bearer {token}canary"})
        service.client.get("/canary?canary=canary", headers={"Cookie": "canary", "User-Agent": "canary"})
        service.client.post("/v1/jobs", content=b"canary", headers={"Idempotency-Key": "canary"})
        lines.requests(5)
        lines.until(lambda: any(line.get("event") == "job.completed" for line in lines.documents))
    everything = "\n".join([*lines.texts, *map(json.dumps, lines.documents)])
    assert everything.count("job.completed") > 0
    assert "canary" not in everything
    assert token not in everything


def test_a_record_cannot_pass_for_two():
    record = logging.LogRecord("app", logging.INFO, "", 0, "a\nb\x1b[31m\u2028c %s", ("d\r",), None)
    assert TextLines().format(record).endswith(r"a\nb\x1b[31m\u2028c d\r")
    assert len(JsonLines().format(record).splitlines()) == 1


def test_a_service_that_logs_json_says_nothing_else_on_standard_error(tmp_path: Path):
    environment = {
        **os.environ,
        "PT_HOME": str(tmp_path / "home"),
        "PT_WORKSPACE": str(tmp_path),
        "PT_PORT": "0",
        "PT_LOG_FORMAT": "json",
        "PT_LOG_LEVEL": "debug",
    }
    command = [sys.executable, "-m", "app.cli", "serve", "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        httpx.get(f"{url}/healthz", trust_env=False)
        httpx.get(f"{url}/v1/jobs", trust_env=False)
        process.terminate()
        _, said = process.communicate(timeout=60)
    lines = [json.loads(line) for line in said.splitlines()]
    assert process.returncode == 0
    assert [line["route"] for line in lines if "route" in line] == ["/healthz", "unmatched"]
    assert {line["logger"].partition(".")[0] for line in lines} <= {"app", "asyncio"}


@pytest.mark.parametrize(("name", "value"), [("PT_LOG_FORMAT", "xml"), ("PT_LOG_LEVEL", "loud")])
def test_a_setting_that_is_none_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch):
    from app.settings import Settings

    with pytest.raises(ValueError, match=f"{name}='{value}': expected one of "):
        Settings.from_environment({name: value})
