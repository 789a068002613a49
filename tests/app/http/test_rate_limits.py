"""How much one token may ask, and what it is told when it asks for more."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.http.buckets import Rates
from app.http.rate_limits import FAILURES_PER_MINUTE
from tests.app.listening import WHOLE, Listening, check_problem, client_of, listening


def test_a_bucket_holds_a_minutes_worth_and_fills_evenly():
    rates = Rates(60, most=10)
    assert [rates.take("a", 1000.0) for _ in range(60)] == [0.0] * 60
    assert rates.take("a", 1000.0) == pytest.approx(1.0)
    assert rates.take("a", 1000.25) == pytest.approx(0.75)
    assert rates.take("a", 1001.0) == 0.0
    assert rates.take("a", 1001.0) == pytest.approx(1.0)
    # Who was refused is not punished for asking, and the others have buckets of their own.
    assert rates.take("b", 1001.0) == 0.0
    assert [rates.take("a", 5000.0) for _ in range(61)].count(0.0) == 60


def test_memory_is_bounded_and_who_is_busy_is_remembered():
    rates = Rates(1, most=100)
    assert rates.take("busy", 0.0) == 0.0
    for number in range(10_000):
        rates.take(f"other-{number}", 0.0)
        if number % 50 == 0:
            rates._full_at.move_to_end("busy")
    assert len(rates._full_at) <= 100
    assert rates.take("busy", 0.0) > 0


def holder(service: Listening, name: str) -> httpx.Client:
    """A client with a token of its own."""
    made = service.client.post("/v1/tokens", json={"name": name, "scopes": ["submit"]})
    client = client_of(service.settings, service.server.url)
    client.headers["Authorization"] = f"Bearer {made.json()['token']}"
    return client


def test_who_asks_too_often_is_told_when_to_come_again_and_others_are_served(tmp_path: Path):
    with listening(tmp_path, requests_per_minute=2) as service, holder(service, "busy") as busy:
        codes = [busy.get("/v1/jobs").status_code for _ in range(4)]
        assert codes == [200] * 2 + [429] * 2
        answer = busy.post("/v1/jobs", json=service.model(WHOLE))
        problem = check_problem(answer, 429, "rate_limited")
        assert (problem["retryable"], problem["recovery"]) == (True, "retry_unchanged")
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert "busy" in problem["detail"]
        assert service.client.get("/v1/jobs").json() == {"jobs": []}
        assert {busy.get("/healthz").status_code for _ in range(30)} == {200}


def test_open_streams_are_counted_and_given_back(tmp_path: Path):
    with (
        listening(tmp_path, requests_per_minute=6000, max_open_requests=3) as service,
        holder(service, "watcher") as one,
    ):
        job_id = one.post("/v1/jobs", json=service.model(f"epoch(1); gate('go'); {WHOLE}")).json()["jobId"]
        headers = {"Accept": "text/event-stream"}
        opened = threading.Barrier(4, timeout=60)

        def watch(_number: int) -> str:
            with client_of(service.settings, service.server.url) as client:
                client.headers["Authorization"] = one.headers["Authorization"]
                with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
                    lines = response.iter_text()
                    next(lines)
                    opened.wait()
                    return "".join(lines)

        with ThreadPoolExecutor(3) as watchers:
            whole = [watchers.submit(watch, number) for number in range(3)]
            opened.wait()
            answer = one.get("/v1/jobs")
            check_problem(answer, 429, "too_many_open")
            assert int(answer.headers["retry-after"]) >= 1
            assert service.client.get(f"/v1/jobs/{job_id}").status_code == 200
            service.open_gate(job_id)
            assert all("job.completed" in text.result(60) for text in whole)
        assert one.get("/v1/jobs").status_code == 200


def test_wrong_tokens_are_limited_and_right_ones_from_the_same_address_are_not(tmp_path: Path):
    with listening(tmp_path) as service, client_of(service.settings, service.server.url) as stranger:
        stranger.headers["Authorization"] = "Bearer ptt_guess"
        codes = [stranger.get("/v1/jobs").status_code for _ in range(FAILURES_PER_MINUTE + 20)]
        assert codes[:FAILURES_PER_MINUTE] == [401] * FAILURES_PER_MINUTE
        assert codes[-1] == 429
        check_problem(stranger.get("/v1/jobs"), 429, "rate_limited")
        assert service.client.get("/v1/jobs").status_code == 200


def test_a_service_without_a_limit_counts_nothing(tmp_path: Path):
    with listening(tmp_path, requests_per_minute=0) as service:
        assert {service.client.get("/v1/skills").status_code for _ in range(50)} == {200}
