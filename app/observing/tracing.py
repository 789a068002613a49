"""Traces: what a tracer does for the service, and one that does nothing. The real one is in ``otel``, behind its door."""

import importlib
import logging
from collections.abc import Sequence
from typing import Protocol, cast

from app.settings import Settings
from app.store.interface import JobRow, Store
from schemas.events import Event

EXTRA = "pip install 'pytorch-trainer[otel]'"
_DOOR = "app.observing.otel"
_log = logging.getLogger(__name__)


class RequestSpan(Protocol):
    """One HTTP request, as long as it is answered."""

    @property
    def traceparent(self) -> str | None:
        """What a job of this request is traced under (W3C Trace Context); None where nothing is."""

    def end(self, method: str, route: str, status: int) -> None:
        """It was answered."""

    def drop(self) -> None:
        """Nobody wants to see it."""


class Tracing(Protocol):
    """An observer of the store that exports a trace of each job. Delays nothing, and never raises."""

    def begin(self, traceparent: str | None) -> RequestSpan:
        """A request has come, in the trace that its client names."""

    def told(self, row: JobRow, events: Sequence[Event]) -> None:
        """The store has these, of one job."""

    def committed(self, seconds: float) -> None:
        """A transaction took so long."""

    def close(self) -> None:
        """Export what there is, within seconds."""


class NoSpan:
    """A request that is not traced."""

    traceparent: str | None = None

    def end(self, method: str, route: str, status: int) -> None:
        """Nothing."""

    def drop(self) -> None:
        """Nothing."""


class NoTracing:
    """Nobody collects traces."""

    def begin(self, traceparent: str | None) -> RequestSpan:
        """A request that is not traced."""
        return NoSpan()

    def told(self, row: JobRow, events: Sequence[Event]) -> None:
        """Nothing."""

    def committed(self, seconds: float) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def make_tracing(settings: Settings, store: Store) -> Tracing:
    """OpenTelemetry where the environment names a collector (``OTEL_*``); it is imported here, or never. Where it is not
    installed a warning says so: these variables are often set for a whole machine, and no reason not to serve."""
    if not settings.traced:
        return NoTracing()
    try:
        door = importlib.import_module(_DOOR)
    except ImportError as error:
        _log.warning(
            "OTEL_* asks for traces, and %s is not installed: there are none. To have them: %s", error.name, EXTRA
        )
        return NoTracing()
    return cast(Tracing, door.OpenTelemetry(store))
