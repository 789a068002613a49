"""Traces as a collector gets them: a real one, on loopback, that speaks OTLP over HTTP; and one that is dead."""

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.settings import Settings
from tests.app.listening import FAILS, WHOLE, Listening, listening
from tests.app.webhooks.receiver import Receiver, receiving
from tests.ports import nobody

STARTED = "say('job.started', pid=1, engine='native', devices=['cpu'], versions={})\n"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")


def collector(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    """Say where it is, as every program is told."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url("").rstrip("/"))


def spans_of(requests: Sequence[ExportTraceServiceRequest]) -> list[Span]:
    """Every span."""
    return [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def exports(receiver: Receiver, *names: str) -> list[ExportTraceServiceRequest]:
    """All that it has got, as soon as spans of these names are among it: a service that ends exports for a moment only."""
    found: list[ExportTraceServiceRequest] = []
    while Counter(names) - Counter(span.name for span in spans_of(found)) or not receiver.nothing_more():
        request = receiver.next()
        assert (request.path, request.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        found.append(ExportTraceServiceRequest.FromString(request.body))
    return found


def attributes_of(pairs: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def submitted(service: Listening, program: str, headers: dict[str, str] | None = None, **sections: Any) -> str:
    """The id of a new job, asked for in a trace."""
    answer = service.client.post("/v1/jobs", json={**service.model(program), **sections}, headers=headers)
    job_id: str = answer.json()["jobId"]
    return job_id


def test_a_job_is_one_trace_from_the_request_to_its_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with receiving(200) as receiver:
        collector(monkeypatch, receiver)
        with listening(tmp_path, traced=True) as service:
            job_id = submitted(service, STARTED + "epoch(1); epoch(2)\n" + WHOLE, TRACED)
            service.settled(job_id)
            service.client.get("/healthz")
            requests = exports(receiver, "job")
        requests += exports(receiver)
    resource = attributes_of(requests[0].resource_spans[0].resource.attributes)
    assert resource["service.name"] == "pytorch-trainer"
    assert (resource["service.version"], resource["deployment.environment"]) == ("0.1.0", "test")
    spans = spans_of(requests)
    named = {span.name: span for span in spans if span.trace_id.hex() == TRACE}
    parents = {name: span.parent_span_id for name, span in named.items()}
    assert set(named) == {"POST /v1/jobs", "job", "queue wait", "attempt", "epoch"}
    assert parents["POST /v1/jobs"].hex() == CALLER
    assert parents["job"] == named["POST /v1/jobs"].span_id
    assert parents["queue wait"] == parents["attempt"] == named["job"].span_id
    epochs = [span for span in spans if span.name == "epoch"]
    assert [span.parent_span_id for span in epochs] == [named["attempt"].span_id] * 2
    assert [attributes_of(span.attributes)["epoch.number"] for span in epochs] == [1, 2]
    request = attributes_of(named["POST /v1/jobs"].attributes)
    assert request == {"http.request.method": "POST", "http.route": "/v1/jobs", "http.response.status_code": 202}
    assert named["POST /v1/jobs"].kind == Span.SPAN_KIND_SERVER
    told = attributes_of(named["job"].attributes)
    assert (told["job.id"], told["job.state"], told["job.attempts"]) == (job_id, "succeeded", 1)
    job, attempt = named["job"], named["attempt"]
    assert job.start_time_unix_nano <= attempt.start_time_unix_nano <= epochs[0].start_time_unix_nano
    assert epochs[1].end_time_unix_nano <= attempt.end_time_unix_nano <= job.end_time_unix_nano
    assert abs(job.end_time_unix_nano - time.time_ns()) < 60e9
    assert not any("healthz" in span.name for span in spans)


def test_a_failure_is_an_error_and_a_trace_that_is_not_sampled_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with receiving(200) as receiver:
        collector(monkeypatch, receiver)
        with listening(tmp_path, traced=True) as service:
            service.settled(submitted(service, STARTED + FAILS))
            quiet = submitted(service, STARTED + WHOLE, {"traceparent": f"00-{TRACE}-{CALLER}-00"})
            service.settled(quiet)
            service.settled(submitted(service, STARTED + WHOLE, {"traceparent": "nonsense"}))
            requests = exports(receiver, "job", "job")
        spans = spans_of(requests + exports(receiver))
    jobs = [span for span in spans if span.name == "job"]
    assert [attributes_of(span.attributes)["job.state"] for span in jobs] == ["failed", "succeeded"]
    assert quiet not in [attributes_of(span.attributes)["job.id"] for span in jobs]
    assert (jobs[0].status.code, jobs[0].status.message) == (Status.STATUS_CODE_ERROR, "diverged")
    assert attributes_of(jobs[0].attributes)["error.type"] == "diverged"
    assert TRACE not in {span.trace_id.hex() for span in spans}
    assert "The loss is NaN" not in str(spans)


def test_a_trace_goes_on_in_the_next_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with receiving(200) as receiver:
        collector(monkeypatch, receiver)
        with listening(tmp_path, traced=True) as service:
            job_id = submitted(service, STARTED + "epoch(1); gate('go')\n" + WHOLE, TRACED)
            service.until(job_id, "epoch")
            first = spans_of(exports(receiver, "POST /v1/jobs"))
        with listening(tmp_path, traced=True) as service:
            service.open_gate(job_id)
            service.settled(job_id)
            second = spans_of(exports(receiver, "job"))
    asked = next(span for span in first if span.name == "POST /v1/jobs")
    assert [span.name for span in first if span.trace_id.hex() == TRACE] == ["POST /v1/jobs"]
    job = next(span for span in second if span.name == "job")
    assert (job.trace_id.hex(), job.parent_span_id) == (TRACE, asked.span_id)
    assert "epoch" in {span.name for span in second}


@pytest.mark.alone
@pytest.mark.parametrize("dead", ["away", "silent"])
def test_a_dead_collector_fails_and_delays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead: str):
    gate = threading.Event()
    with receiving(200, gate=gate) as receiver, nobody() as port:
        collector(monkeypatch, receiver)
        if dead == "away":
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        with listening(tmp_path, traced=True) as service:
            began = time.monotonic()
            job_id = submitted(service, STARTED + WHOLE, TRACED)
            assert service.settled(job_id)["state"] == "succeeded"
            for _ in range(20):
                assert service.client.get("/v1/jobs").status_code == 200
            assert time.monotonic() - began < 10
            ending = time.monotonic()
        assert time.monotonic() - ending < 6
        gate.set()


def test_off_nothing_of_it_is_imported_and_on_it_is(tmp_path: Path):
    """FastAPI itself imports OpenTelemetry's API where that is installed: the SDK and the exporter are ours to leave out."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom app.main import create_app\nfrom app.settings import Settings\n"
        "settings = Settings.from_environment()\napp = create_app(settings)\n"
        "print(settings.traced, *sorted(name for name in sys.modules if re.match(r'opentelemetry\\.(sdk|exporter)|requests$', name)))\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    said = {"PT_HOME": str(tmp_path / "home"), "PT_WORKSPACE": str(tmp_path)}

    def child(**environment: str) -> list[str]:
        command = [sys.executable, "-c", f"import re\n{program}"]
        done = subprocess.run(command, env={**clean, **said, **environment}, capture_output=True, text=True, check=True)
        return done.stdout.split()

    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    assert child() == ["False"]
    on = child(**endpoint)
    assert on[0] == "True"
    assert {"opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"} <= set(on)


def test_without_the_extra_a_warning_says_how_to_have_it(tmp_path: Path):
    program = (
        "import logging, sys\nsys.modules['opentelemetry.exporter'] = None\n"
        "from pathlib import Path\nfrom app.main import create_app\nfrom app.settings import Settings\n"
        "logging.basicConfig()\ncreate_app(Settings(home=Path(sys.argv[1]), workspace=Path(sys.argv[1]), traced=True))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(
        r"opentelemetry.exporter\S* is not installed: .* pip install 'pytorch-trainer\[otel\]'", done.stderr
    )


@pytest.mark.parametrize(
    ("environment", "traced"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
    ],
)
def test_the_standard_variables_switch_it(environment: dict[str, str], traced: bool):
    assert Settings.from_environment(environment).traced is traced
