"""Traces by OpenTelemetry: one for each job, under the request that it came with, exported when the job has settled.

Everything about the collector is said by the standard ``OTEL_*`` variables, which the SDK reads by itself. Spans go into a
bounded queue that a thread of the SDK empties: a collector that is slow, away or full loses spans, and nothing else.
"""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.observing.job_trace import Piece, trace_of
from app.store.interface import JobRow, Store, StoreUnavailable
from schemas.events import Event, JobCompleted

_PAGE = 1000
_CLOSING_SECONDS = 1.0
_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()
_log = logging.getLogger(__name__)


class OpenTelemetry:
    """Keeps its tracer to itself: nothing of another library is traced by its being there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("pytorch-trainer", version("pytorch-trainer"))
        self._teller = ThreadPoolExecutor(1, thread_name_prefix="traces")

    def begin(self, traceparent: str | None) -> "HttpSpan":
        """A request has come, in the trace that its client names."""
        return HttpSpan(self._tracer.start_span("request", context=_context_of(traceparent), kind=SpanKind.SERVER))

    def told(self, row: JobRow, events: Sequence[Event]) -> None:
        """A job that has settled is told from its beginning: this process may have seen the end of it alone."""
        if events and events[-1].type == JobCompleted.event_type:
            self._teller.submit(self._tell, row).add_done_callback(_report)

    def committed(self, seconds: float) -> None:
        """Nothing to trace in that."""

    def close(self) -> None:
        """Export what there is, for a second at most: the SDK itself would wait for half a minute for a collector that
        does not answer."""
        self._teller.shutdown()
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(_CLOSING_SECONDS)

    def _tell(self, row: JobRow) -> None:
        try:
            piece = trace_of(row, self._events(row.job_id))
        except StoreUnavailable as error:
            _log.warning("%s has no trace: %s", row.job_id, error)
            return
        _export(self._tracer, piece, _context_of(row.traceparent))

    def _events(self, job_id: str) -> Sequence[Event]:
        """Without steps and logs, which are most of them and have no part in it."""
        found: list[Event] = []
        after = -1
        while page := self._store.events(job_id, after, _PAGE):
            found += [event for event in page if event.type not in ("step", "log")]
            after = page[-1].seq
        return found


class HttpSpan:
    """The span of one request."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        """What a job of this request is traced under."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, context=set_span_in_context(self._span))
        return carrier.get(_HEADER)

    def end(self, method: str, route: str, status: int) -> None:
        """It was answered. The route is its template: paths and queries may hold what is nobody's business."""
        self._span.update_name(f"{method} {route}")
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
        }
        self._span.set_attributes(attributes)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()

    def drop(self) -> None:
        """A span that does not end is not exported."""


def _report(telling: Future[None]) -> None:
    """A trace that cannot be told is a fault of ours: say so, and let the job be."""
    if (error := telling.exception()) is not None:
        _log.error("a trace could not be told", exc_info=error)


def _export(tracer: Tracer, piece: Piece, within: Context) -> None:
    span = tracer.start_span(piece.name, context=within, start_time=piece.start, attributes=piece.attributes)
    if piece.error is not None:
        span.set_attribute("error.type", piece.error)
        span.set_status(Status(StatusCode.ERROR, piece.error))
    for part in piece.parts:
        _export(tracer, part, set_span_in_context(span, Context()))
    span.end(end_time=max(piece.start, piece.end))


def _context_of(traceparent: str | None) -> Context:
    """The context that ``traceparent`` names; an empty one where it names none."""
    return _propagator.extract({_HEADER: traceparent} if traceparent else {}, context=Context())


def _resource() -> Resource:
    ours = Resource({SERVICE_NAME: "pytorch-trainer", SERVICE_VERSION: version("pytorch-trainer")})
    said = Resource.create()
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say counts; the SDK's own name for the nameless does not.
    nameless = str(said.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    return said.merge(ours) if nameless else ours.merge(said)
