"""Hostile bodies, raw requests and what the schema of the interface allows, at random: no 5xx, no hang, no input that comes
back at length."""

import http.client
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.app.http.hostile_corpus import bodies, heads, longest_echo
from tests.app.listening import SKILL, Listening, address_of, listening
from tests.app.workspace import REQUEST
from tests.tiers import rounds

LONGEST_SECONDS = 2.0
LONGEST_ECHO = 300
LARGEST_ANSWER = 256 << 10
# Beyond it a body is refused before it has been read.
LARGEST_BODY = 1 << 20
ROUTES = ("/v1/jobs", f"{SKILL}/invoke", f"{SKILL}/plan")
BODIES = dict(bodies())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """A service whose one slot is taken: what is accepted waits."""
    seconds = {"head_seconds": 0.5, "body_seconds": 0.5}
    with listening(tmp_path_factory.mktemp("fuzzed"), max_queued_jobs=50, **seconds) as running:
        holder = running.submit("epoch(1); gate('go'); end('succeeded')")
        yield running
        assert running.client.get("/readyz").status_code == 200
        running.open_gate(holder)
        assert running.settled(holder)["state"] == "succeeded"


class Sender:
    """Posts bodies over one connection, as long as it holds."""

    def __init__(self, service: Listening) -> None:
        self._address = address_of(service)
        self._headers = {
            "Authorization": service.client.headers["authorization"],
            "Content-Type": "application/json",
            "Prefer": "respond-async",
        }
        self._connection = http.client.HTTPConnection(*self._address, timeout=30)

    def post(self, path: str, body: bytes) -> None:
        """Send it; the answer is a sober one, and comes soon."""
        began = time.monotonic()
        try:
            status, answer = self._exchange(path, body)
        except (BrokenPipeError, ConnectionResetError, http.client.HTTPException):
            # Refused before it was read; the answer may be lost with the connection. Nothing else may be.
            assert len(body) > LARGEST_BODY or self._was_idle
            self._connection = http.client.HTTPConnection(*self._address, timeout=30)
            if len(body) <= LARGEST_BODY:
                status, answer = self._exchange(path, body)
            else:
                status, answer = 413, b""
        assert status < 500, (status, answer[:500])
        assert time.monotonic() - began <= LONGEST_SECONDS
        assert len(answer) <= LARGEST_ANSWER
        assert longest_echo(answer) <= LONGEST_ECHO

    def _exchange(self, path: str, body: bytes) -> tuple[int, bytes]:
        self._was_idle = self._connection.sock is not None
        self._connection.request("POST", path, body, {**self._headers, "Host": "localhost"})
        response = self._connection.getresponse()
        answer = response.read()
        if response.will_close:
            self._connection.close()
        return response.status, answer


@pytest.mark.torture
@pytest.mark.alone
@pytest.mark.parametrize("path", ROUTES)
def test_no_body_of_the_corpus_does_harm(
    service: Listening, chance: random.Random, record_property: Callable[[str, object], None], path: str
):
    assert len(BODIES) >= 300
    sender = Sender(service)
    short = [body for body in BODIES.values() if len(body) < 10_000]
    long = [body for body in BODIES.values() if len(body) >= 10_000]
    sent = [*chance.sample(long, rounds(20, len(long))), *chance.sample(short, rounds(300, len(short)))]
    for body in sent:
        sender.post(path, body)
    record_property("bodies", len(sent))


def mutated(chance: random.Random) -> bytes:
    """The usual request, a few of its bytes or pieces changed."""
    body = bytearray(json.dumps(REQUEST).encode())
    for _ in range(chance.randint(1, 4)):
        place, length = chance.randrange(len(body)), chance.randint(0, 6)
        piece = chance.choice([bytes([chance.randrange(256)]), b'"', b"{", b"[", b"\\u", b"e9", b"null", b":", b","])
        body[place : place + length] = piece * chance.choice([1, 1, 1, 50])
    return bytes(body)


@pytest.mark.torture
@pytest.mark.alone
def test_no_mutation_of_a_request_does_harm(
    service: Listening, chance: random.Random, record_property: Callable[[str, object], None]
):
    sender, sent = Sender(service), rounds(900, 36_000)
    for _ in range(sent):
        sender.post(chance.choice(ROUTES), mutated(chance))
    record_property("bodies", sent)


def answer_to(service: Listening, raw: bytes) -> bytes:
    """All that comes until the service closes the connection, or has nothing more to say."""
    answer = b""
    with socket.create_connection(address_of(service), timeout=LONGEST_SECONDS) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                answer += piece
        except (BrokenPipeError, ConnectionResetError):
            return answer
    return answer


@pytest.mark.torture
@pytest.mark.alone
def test_no_head_does_harm(service: Listening, chance: random.Random, record_property: Callable[[str, object], None]):
    corpus = dict(heads(service.client.headers["authorization"]))
    requests = list(corpus.values())
    for _ in range(rounds(60, 6000)):
        raw = bytearray(chance.choice(requests)[:4000])
        for _ in range(chance.randint(1, 3)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        requests.append(bytes(raw))
    for raw in requests:
        answer = answer_to(service, raw)
        assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:200]
        assert not any(head.startswith((b"HTTP/1.1 5",)) for head in answer.split(b"\r\n")), answer[:500]
        assert len(answer) <= LARGEST_ANSWER
    record_property("requests", len(requests))
    assert service.client.get("/readyz").status_code == 200


@pytest.mark.alone
def test_a_body_of_50_mb_and_a_slow_one_hold_nobody(service: Listening):
    sender = Sender(service)
    # As many values as there is room for.
    full = json.dumps({**REQUEST, "labels": 0}).replace('"labels": 0', f'"labels": [{"[], " * 250_000}[]]').encode()
    assert LARGEST_BODY - 100_000 < len(full) < LARGEST_BODY
    for path in ROUTES:
        sender.post(path, full)
    for name, body in BODIES.items():
        if name.startswith("50 MB"):
            sender.post("/v1/jobs", body)
    with socket.create_connection(address_of(service)) as slow:
        slow.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        began = time.monotonic()
        assert service.client.get("/v1/jobs").status_code == 200
        assert time.monotonic() - began <= LONGEST_SECONDS


def operations(service: Listening) -> Any:
    """What the service says of its own interface."""
    return schemathesis.openapi.from_dict(service.client.get("/openapi.json").json())


CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.mark.torture
@pytest.mark.alone
def test_what_the_schema_allows_is_answered_as_it_says(
    service: Listening, record_property: Callable[[str, object], None]
):
    sent = 0
    for found in operations(service).get_all_operations():
        operation = found.ok()

        def send(case: schemathesis.Case) -> None:
            nonlocal sent
            began = time.monotonic()
            # A wait is asked for as long as it takes; this one is not.
            for values in (case.query, case.headers):
                for name in [name for name in values or {} if name.lower() in ("wait", "prefer")]:
                    del values[name]
            headers = {"Authorization": service.client.headers["authorization"], "Prefer": "respond-async"}
            response = case.call(base_url=service.server.url, headers=headers, timeout=30)
            case.validate_response(response, checks=CHECKS)
            assert time.monotonic() - began <= LONGEST_SECONDS
            sent += 1

        asked = settings(
            max_examples=rounds(8, 300), deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        asked(given(case=operation.as_strategy())(send))()
    record_property("requests", sent)
