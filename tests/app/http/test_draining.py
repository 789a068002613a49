"""A service that is told to end says so first: to balancers, to clients and to whoever measures; and trainings go on."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.app.listening import WHOLE, Listening, check_problem, client_of, listening

TRAINS = "say('job.started', pid=1, engine='native', devices=['cpu'], versions={})\nepoch(1); gate('go')\n"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Listening]:
    """One that would drain for longer than any test waits."""
    with listening(tmp_path, drain_seconds=600.0) as running:
        try:
            yield running
        finally:
            for _ in range(2):
                running.server.handle_exit(signal.SIGTERM, None)


def streamed(service: Listening, job_id: str, accept: str) -> tuple[threading.Event, list[str], threading.Thread]:
    """What a client reads to the end of a stream, and when it has begun."""
    began: threading.Event = threading.Event()
    texts: list[str] = []

    def read() -> None:
        with (
            client_of(service.settings, service.server.url) as client,
            client.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Accept": accept}) as response,
        ):
            for text in response.iter_text():
                texts.append(text)
                if "epoch.completed" in "".join(texts):
                    began.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert began.wait(60)
    return began, texts, thread


def test_a_service_that_drains_is_not_ready_and_says_so_everywhere(service: Listening):
    job_id = service.submit(TRAINS + WHOLE)
    _, browser, first = streamed(service, job_id, "text/event-stream")
    _, program, second = streamed(service, job_id, "application/x-ndjson")
    assert service.client.get("/readyz").status_code == 200
    waited: list[str] = []

    def wait() -> None:
        with client_of(service.settings, service.server.url) as client:
            waited.append(client.get(f"/v1/jobs/{job_id}?wait=60").json()["state"])

    waiting = threading.Thread(target=wait)
    waiting.start()
    service.server.handle_exit(signal.SIGTERM, None)
    for thread in (first, second, waiting):
        # Sooner than what was asked for: 60 s.
        thread.join(20)
        assert not thread.is_alive()
    assert waited == ["running"]
    assert "".join(browser).endswith("retry: 5000\n: the service is closing; the training goes on\n\n")
    assert "retry" not in "".join(program)
    # On new connections: the socket still listens.
    with client_of(service.settings, service.server.url) as client:
        check_problem(client.get("/readyz"), 503, "unavailable")
        assert client.get("/healthz").status_code == 200
        refused = client.post("/v1/jobs", json=service.model(WHOLE))
        assert check_problem(refused, 503, "unavailable")["retryable"] is True
        assert int(refused.headers["retry-after"]) > 0
        check_problem(client.post("/v1/skills/pytorch-trainer/invoke", json=service.model(WHOLE)), 503, "unavailable")
        assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "running"
        assert "\npytorch_trainer_draining 1.0\n" in client.get("/metrics").text
        assert len(client.get("/v1/jobs").json()["jobs"]) == 1
        service.open_gate(job_id)
        # Its end is stored though nobody can be told of it any more.
        until = time.monotonic() + 60
        while client.get(f"/v1/jobs/{job_id}").json()["state"] != "succeeded":
            assert time.monotonic() < until


def test_a_stream_that_is_complete_ends_without_a_farewell(service: Listening):
    job_id = service.submit(TRAINS + WHOLE)
    _, browser, reading = streamed(service, job_id, "text/event-stream")
    service.open_gate(job_id)
    reading.join(60)
    assert "job.completed" in "".join(browser)
    assert "5000" not in "".join(browser).rpartition("job.completed")[2]


def test_a_second_signal_ends_the_draining_and_without_the_setting_there_is_none(tmp_path: Path):
    with listening(tmp_path, drain_seconds=600.0) as service:
        began = time.monotonic()
        service.server.handle_exit(signal.SIGTERM, None)
        while service.client.get("/readyz").status_code == 200:
            assert time.monotonic() - began < 60
        service.server.handle_exit(signal.SIGTERM, None)
    with listening(tmp_path) as service:
        job_id = service.submit(TRAINS + WHOLE)
        service.until(job_id, "epoch")
    with listening(tmp_path) as service:
        service.open_gate(job_id)
        assert service.settled(job_id)["state"] == "succeeded"


def test_the_setting_is_in_seconds():
    assert Settings.from_environment({"PT_DRAIN_SECONDS": "15"}).drain_seconds == 15
    with pytest.raises(ValueError, match="PT_DRAIN_SECONDS='soon'"):
        Settings.from_environment({"PT_DRAIN_SECONDS": "soon"})
