"""Metrics for Prometheus: what is counted as it happens. What is read when somebody asks is in ``gauges``.

Names, units and labels are a promise: docs/operating.md has them all, and a test compares. Every label has a bounded
set of values.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric

from app.observing.gauges import gauges
from app.observing.snapshot import Snapshot
from app.problems import PROBLEMS
from app.store.interface import JobRow
from app.store.lines import OF_THE_SERVICE
from schemas.engines import ENGINES
from schemas.events import AttemptFailed, Event, JobCompleted, JobQueued, JobStarted
from schemas.failures import FailureCode
from schemas.job import TERMINAL
from schemas.webhooks import Sent

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WAIT = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
_DURATION = (1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 86400, 604800)
_LAG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300)
_LONGEST_LAG = 86400.0
_COMMIT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
_HTTP = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 60)

# A series for when each counter began: nobody asked.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Counts what the store, the service and HTTP tell it, from any thread, since this process began."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._submitted = self._counter("jobs_submitted", "Jobs accepted.", "engine", ENGINES)
        self._completed = self._counter("jobs_completed", "Jobs that have settled.", "state", TERMINAL)
        self._attempts = self._counter(
            "attempts_failed", "Attempts that ended without a result.", "code", get_args(FailureCode)
        )
        self._refusals = self._counter("refusals", "Requests that were refused.", "code", PROBLEMS)
        self._webhooks = self._counter(
            "webhook_attempts", "Attempts to deliver a webhook, by how they went.", "outcome", get_args(Sent)
        )
        self._wait = self._histogram("queue_wait_seconds", "From acceptance to the first attempt.", _WAIT)
        self._duration = self._histogram(
            "job_duration_seconds", "From the first attempt to the end of the job.", _DURATION, "state"
        )
        self._lag = self._histogram(
            "event_lag_seconds", "From a worker's writing an event to its being in the store.", _LAG
        )
        self._commit = self._histogram(
            "store_commit_seconds", "From asking for a transaction to its being on disk.", _COMMIT
        )
        self._requests = self._counter("http_requests", "Requests answered.", ("method", "route", "status"))
        self._latency = self._histogram(
            "http_request_duration_seconds",
            "From the head of a request to the head of its answer.",
            _HTTP,
            "method",
            "route",
        )

    def told(self, row: JobRow, events: Sequence[Event]) -> None:
        """The store has these, of one job."""
        moment = datetime.now(UTC)
        for event in events:
            match event.type:
                case JobQueued.event_type:
                    self._submitted.labels(row.engine).inc()
                case JobStarted.event_type if event.attempt == 1 and row.started_at is not None:
                    self._wait.observe(_seconds(row.created_at, row.started_at))
                case AttemptFailed.event_type:
                    self._attempts.labels(event.data["code"]).inc()
                case JobCompleted.event_type:
                    self._settled(row, event)
            if event.type not in OF_THE_SERVICE:
                lag = (moment - datetime.fromisoformat(event.time)).total_seconds()
                # The time is the worker's word, and one absurd one would spoil the sum for ever.
                self._lag.observe(min(max(0.0, lag), _LONGEST_LAG))

    def committed(self, seconds: float) -> None:
        """A transaction took so long."""
        self._commit.observe(seconds)

    def refused(self, code: str) -> None:
        """A request was refused with this problem."""
        self._refusals.labels(code).inc()

    def sent(self, outcome: Sent) -> None:
        """A webhook was sent, taken or not."""
        self._webhooks.labels(outcome).inc()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request to ``route``, a template, was answered."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(method, route).observe(seconds)

    def exposition(self, snapshot: Snapshot) -> bytes:
        """Everything, in Prometheus' text format 0.0.4."""
        return generate_latest(_Both(self._registry, snapshot))

    def _settled(self, row: JobRow, event: Event) -> None:
        state, error = event.data["state"], event.data["output"].get("error")
        self._completed.labels(state).inc()
        if state == "failed" and error and row.attempt:
            self._attempts.labels(error["code"]).inc()
        if row.started_at is not None:
            self._duration.labels(state).observe(_seconds(row.started_at, event.time))

    def _counter(self, name: str, what: str, label: str | Sequence[str], values: Iterable[str] = ()) -> Counter:
        labels = (label,) if isinstance(label, str) else label
        counter = Counter(f"pytorch_trainer_{name}", what, labels, registry=self._registry)
        for value in values:
            counter.labels(value)  # from 0 on, so that the first one is a change
        return counter

    def _histogram(self, name: str, what: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"pytorch_trainer_{name}", what, labels, buckets=buckets, registry=self._registry)


class _Both:
    """The counted and the read, as one registry."""

    def __init__(self, registry: CollectorRegistry, snapshot: Snapshot) -> None:
        self._registry = registry
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """All families."""
        return chain(gauges(self._snapshot), self._registry.collect())


def _seconds(start: str, end: str) -> float:
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
