"""How much one token may ask: so many requests a minute, and so many open at a time."""

import math
import time
from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.buckets import Rates
from app.problems import Refusal
from app.settings import Settings
from app.tokens import MOST_TOKENS, Grant

# Wrong tokens a minute from one address: nobody guesses 256 bits, but to answer is work.
FAILURES_PER_MINUTE = 120
_MOST_ADDRESSES = 4096
_OPEN_RETRY_SECONDS = 5


def too_many(what: str, seconds: float) -> Refusal:
    """The 429 that says when to come again."""
    return Refusal("rate_limited", what, headers={"Retry-After": str(max(1, math.ceil(seconds)))})


class Failures:
    """Counts wrong tokens by the address they come from. Right ones from there are not looked at."""

    def __init__(self) -> None:
        self._rates = Rates(FAILURES_PER_MINUTE, _MOST_ADDRESSES)

    def counted(self, client: tuple[str, int] | None, refused: Refusal) -> Refusal:
        """``refused``, or the 429 that takes its place when the address has been refused too often."""
        wait = self._rates.take(client[0] if client else "", time.monotonic())
        if not wait:
            return refused
        return too_many(f"More than {FAILURES_PER_MINUTE} wrong tokens a minute came from your address.", wait)


class RateGuard:
    """Holds each grant to its rate and to its open requests: streams and long waits are open as long as they last.

    Stands behind the guard that says whose the request is. What needs no token, the health of the service before all, is
    never counted.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._per_minute = settings.requests_per_minute
        self._most_open = settings.max_open_requests
        self._rates = Rates(self._per_minute, MOST_TOKENS + 2)
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429."""
        grant: Grant | None = scope.get("grant")
        if grant is None:
            await self._app(scope, receive, send)
            return
        refused = self._refusal(grant)
        if refused is not None:
            await refused.response()(scope, receive, send)
            return
        self._open[grant.holder] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[grant.holder] -= 1
            if not self._open[grant.holder]:
                del self._open[grant.holder]

    def _refusal(self, grant: Grant) -> Refusal | None:
        if self._open[grant.holder] >= self._most_open:
            what = f"{self._most_open} requests of {grant.name} are open, streams and waits among them; end some."
            return Refusal("too_many_open", what, headers={"Retry-After": str(_OPEN_RETRY_SECONDS)})
        if wait := self._rates.take(grant.holder, time.monotonic()):
            what = (
                f"{grant.name} asks more than {self._per_minute} times a minute (PT_RATE_LIMIT). Instead of asking again "
                "and again, wait (GET /v1/jobs/{job_id}?wait=45) or follow the events."
            )
            return too_many(what, wait)
        return None
