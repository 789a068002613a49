"""Figures for Prometheus: all that is documented and nothing else, right, bounded, and nobody's but the token's holder."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.listening import FAILS, WHOLE, Listening, check_problem, listening

PAGE = (Path(__file__).parents[3] / "docs/operating.md").read_text()
TRAINS = """
say('job.started', pid=1, engine='native', devices=['cpu'], versions={})
say('epoch.started', epoch=2, epochs=4, steps=10)
say('step', epoch=2, step=15, totalSteps=40, loss=0.25, samplesPerSecond=1234.5)
say('epoch.completed', epoch=2, trainLoss=0.5, isBest=True, samplesPerSecond=1234.5)
gate('go')
"""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("metrics")) as running:
        yield running


def text_of(service: Listening) -> str:
    """What a scraper reads."""
    answer = service.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.text


def samples_of(text: str) -> Samples:
    """(name, labels) -> value."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    found: Samples = {}
    for series, _, value in lines:
        name, _, labels = series.partition("{")
        found[name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels))] = float(value)
    return found


def value_of(text: str, name: str, **labels: str) -> float | None:
    """One sample, or None."""
    return samples_of(text).get((f"pytorch_trainer_{name}", frozenset(labels.items())))


def test_every_documented_metric_is_exposed_and_nothing_else(service: Listening):
    job_id = service.submit(TRAINS + WHOLE)
    service.until(job_id, "epoch")
    text = text_of(service)
    service.open_gate(job_id)
    service.settled(job_id)
    rows = re.findall(r"^\| `(\w+)` \| (gauge|counter|histogram) \|([^|]*)\|", PAGE, re.MULTILINE)
    documented = {(name, kind): frozenset(re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}
    assert len(documented) == len(rows)
    exposed = dict.fromkeys(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert set(exposed) == set(documented)
    # Another scrape, in which the first one and a job that has ended are counted as well: every metric has a sample.
    labels = {name: {key for key, _ in pairs} for name, pairs in samples_of(text) | samples_of(text_of(service))}
    for (name, kind), wanted in documented.items():
        found = labels[f"{name}_count" if kind == "histogram" else name]
        assert found == wanted, name


def test_a_running_job_has_figures_that_go_with_it(service: Listening):
    job_id = service.submit(TRAINS + WHOLE)
    service.until(job_id, "epoch")
    text = text_of(service)
    figures = {name: value_of(text, f"job_{name}", job_id=job_id) for name in ("loss", "epoch", "progress_ratio")}
    assert figures == {"loss": 0.25, "epoch": 2, "progress_ratio": 15 / 40}
    assert value_of(text, "job_samples_per_second", job_id=job_id) == 1234.5
    assert value_of(text, "devices_in_use", kind="cpu") == value_of(text, "devices", kind="cpu") == 1
    assert value_of(text, "jobs", state="running") == 1
    with service.stream(job_id) as messages:
        next(messages)
        assert value_of(text_of(service), "followers", kind="stream") == 1
        service.open_gate(job_id)
        list(messages)
    service.settled(job_id)
    text = text_of(service)
    assert job_id not in text
    assert value_of(text, "followers", kind="stream") == 0


def test_what_happens_is_counted_once(service: Listening):
    before = samples_of(text_of(service))
    key = {"Idempotency-Key": "counted"}
    failing = service.model(f"say('job.started', pid=1, engine='native', devices=['cpu'], versions={{}})\n{FAILS}")
    for _ in range(2):
        job_id = service.client.post("/v1/jobs", json=failing, headers=key).json()["jobId"]
    service.settled(job_id)
    service.client.post("/v1/jobs", json={})
    service.client.get("/nothing/at/all")
    after = samples_of(text_of(service))
    grown = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}

    def growth(name: str, **labels: str) -> float:
        return grown.get((f"pytorch_trainer_{name}", frozenset(labels.items())), 0)

    assert growth("jobs_submitted_total", engine="native") == 1
    assert growth("jobs_completed_total", state="failed") == 1
    assert growth("attempts_failed_total", code="diverged") == 1
    assert growth("job_duration_seconds_count", state="failed") == 1
    assert growth("queue_wait_seconds_count") == 1
    assert growth("refusals_total", code="input_invalid") == growth("refusals_total", code="not_found") == 1
    assert growth("http_requests_total", method="POST", route="/v1/jobs", status="202") == 2
    assert growth("http_requests_total", method="GET", route="unmatched", status="404") == 1
    assert growth("http_request_duration_seconds_count", method="POST", route="/v1/jobs") == 3
    assert growth("event_lag_seconds_count") == 1
    # Accepted, claimed, what the worker said, settled; and not the submission that was sent again.
    assert growth("store_commit_seconds_count") in (4, 5)


def test_labels_are_templates_and_known_words(service: Listening):
    secret = "s3cret-in-a-path"
    service.client.get(f"/v1/jobs/{secret}?label={secret}")
    service.client.request("BREW", "/v1/jobs")
    text = text_of(service)
    assert secret not in text
    assert "BREW" not in text
    routes = {dict(labels).get("route") for _, labels in samples_of(text)} - {None}
    assert routes <= {*service.client.get("/openapi.json").json()["paths"], "unmatched", "/openapi.json"}
    assert "/v1/jobs/{job_id}" in routes


def test_a_worker_that_lies_about_the_time_spoils_no_figure(service: Listening):
    liar = "import json; write(json.dumps({'type': 'epoch.started', 'time': '1970-01-01T00:00:00Z', 'data': {'epoch': 1, 'epochs': 1, 'steps': 1}}).encode() + b'\\n')\n"
    before = value_of(text_of(service), "event_lag_seconds_sum")
    assert service.settled(service.submit(liar + WHOLE))["state"] == "succeeded"
    after = value_of(text_of(service), "event_lag_seconds_sum")
    assert before is not None
    assert after is not None
    assert 86400 <= after - before < 2 * 86400


def test_nobody_reads_them_without_the_token(service: Listening):
    check_problem(httpx.get(f"{service.server.url}/metrics", trust_env=False), 401, "unauthorized")
    assert (service.settings.token_file.read_text().strip()) not in text_of(service)


def test_a_store_that_cannot_be_read_is_seen(tmp_path: Path):
    with listening(tmp_path) as service:
        assert value_of(text_of(service), "store_up") == 1
        for file in service.settings.home.glob("pytorch-trainer.db*"):
            file.write_bytes(b"no database" * 1000)
        text = text_of(service)
        assert value_of(text, "store_up") == 0
        assert value_of(text, "jobs", state="queued") is None
        assert value_of(text, "disk_free_bytes") is not None
