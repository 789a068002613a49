"""Clients that send a byte now and then: answered with 408, and their connections closed."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.listening import SKILL, Listening, address_of, listening

SECONDS = 0.4


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("slow"), head_seconds=SECONDS, body_seconds=SECONDS) as running:
        yield running


def trickle(service: Listening, sent_at_once: bytes) -> bytes:
    """What is answered to one who goes on with a blank every 50 ms, until the connection is closed."""
    answer = b""
    with socket.create_connection(address_of(service)) as connection:
        connection.sendall(sent_at_once)
        connection.settimeout(0.05)
        for _ in range(200):
            try:
                piece = connection.recv(65536)
            except TimeoutError:
                connection.sendall(b" ")
                continue
            except ConnectionResetError:
                return answer
            if not piece:
                return answer
            answer += piece
    raise AssertionError("the connection is still open after 10 s")


def head(service: Listening, path: str, method: str = "POST") -> bytes:
    token = service.client.headers["authorization"]
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    ).encode()


@pytest.mark.parametrize("path", ["/v1/jobs", f"{SKILL}/invoke", f"{SKILL}/plan"])
def test_a_body_that_trickles_is_a_408(service: Listening, path: str):
    said, _, body = trickle(service, head(service, path)).partition(b"\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in said
    assert json.loads(body)["code"] == "request_timeout"


def test_a_head_that_trickles_is_a_408(service: Listening):
    said, _, body = trickle(service, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").partition(b"\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "request_timeout"


@pytest.mark.parametrize(
    "before", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["new", "kept alive"]
)
def test_a_second_head_that_trickles_has_no_more_time(service: Listening, before: bytes):
    assert b"HTTP/1.1 408 " in trickle(service, before + b"GET /healthz HTTP/1.1\r\n")


def test_a_body_that_nobody_reads_holds_no_connection_either(service: Listening):
    assert trickle(service, head(service, "/healthz", "GET")).startswith(b"HTTP/1.1 200 ")


def test_a_connection_that_says_nothing_is_closed(service: Listening):
    with socket.create_connection(address_of(service), timeout=60) as connection:
        assert connection.recv(1) == b""


def test_what_is_no_http_is_a_problem_document(service: Listening):
    with socket.create_connection(address_of(service), timeout=60) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer


def test_a_connection_lives_longer_than_one_request_may_take(tmp_path: Path):
    with listening(tmp_path, head_seconds=SECONDS, body_seconds=SECONDS) as running:
        job_id = running.submit("epoch(1); gate('go'); end('succeeded')")
        # One wait, over a connection that is kept, outlasts both bounds.
        view = running.client.get(f"/v1/jobs/{job_id}", params={"wait": 3 * SECONDS}).json()
        assert view["state"] != "succeeded"
        running.open_gate(job_id)
        assert running.settled(job_id)["state"] == "succeeded"
