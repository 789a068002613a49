"""The account of every request: a name for it, one line in the log, and its figures."""

import logging
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.exchange import Exchange, begin
from app.observing.metrics import Metrics
from app.observing.tracing import RequestSpan, Tracing
from app.tokens import OWNER

REQUEST_ID = "X-Request-Id"

# Asked every few seconds by machines: seen in the log with PT_LOG_LEVEL=debug.
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
# What proxies write for a client that left before it was answered.
_LEFT = 499

_log = logging.getLogger(__name__)


class Accounting:
    """Around the whole application: whatever answers a request, a guard or the last resort for errors, is accounted for.

    A request is known by its route's template, never by its path, query or body: these may hold what is nobody's business.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and say how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        exchange, span = begin(headers.get(REQUEST_ID)), self._tracing.begin(headers.get("traceparent"))
        exchange.traceparent = span.traceparent
        account = _Account(scope, exchange, span)

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                account.began(message["status"])
                MutableHeaders(scope=message)[REQUEST_ID] = exchange.request_id
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        finally:
            account.close(self._metrics)


class _Account:
    """One request, from its head to the end of its answer."""

    def __init__(self, scope: Scope, exchange: Exchange, span: RequestSpan) -> None:
        self._scope = scope
        self._exchange = exchange
        self._span = span
        self._came = perf_counter()
        self._status = _LEFT
        self._began: float | None = None

    def began(self, status: int) -> None:
        """The head of the answer is sent."""
        self._status = status
        self._began = perf_counter()

    def close(self, metrics: Metrics) -> None:
        """The answer is sent, or nobody is there to take it."""
        ended = perf_counter()
        method, route = self._scope["method"], getattr(self._scope.get("route"), "path", "unmatched")
        metrics.answered(method, route, self._status, (self._began or ended) - self._came)
        if route in _PROBES:
            self._span.drop()
        else:
            self._span.end(method, route, self._status)
        if self._exchange.problem is not None:
            metrics.refused(self._exchange.problem)
        milliseconds = round((ended - self._came) * 1000, 1)
        facts = {"method": method, "route": route, "status": self._status, "ms": milliseconds}
        known = {"problem": self._exchange.problem, "token": self._exchange.token}
        problem = f" {self._exchange.problem}" if self._exchange.problem else ""
        # The owner's own requests are most of them on a person's machine: a line that says so each time says nothing.
        token = f", token {self._exchange.token}" if self._exchange.token not in (None, OWNER.name) else ""
        text = f"{method} {route} {self._status}{problem}, {milliseconds:g} ms, {self._exchange.request_id}{token}"
        fields = {**facts, **{name: value for name, value in known.items() if value is not None}}
        _log.log(self._level(route), "%s", text, extra={"fields": fields})

    def _level(self, route: str) -> int:
        if self._status >= 500:
            return logging.WARNING
        return logging.DEBUG if route in _PROBES and self._status < 400 else logging.INFO
