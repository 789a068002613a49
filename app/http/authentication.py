"""Who may speak to this service: holders of a token of its, through a name of ours, from a page of ours or none.

The service runs code by design. A web page that makes its own name resolve to a loopback address (DNS rebinding)
reaches any local port, but cannot choose the Host and Origin that the browser sends.
"""

import asyncio
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.exchange import current
from app.http import documentation
from app.http.rate_limits import Failures
from app.problems import Refusal
from app.settings import LOOPBACK_HOSTS, TOKEN_FILE, Settings
from app.tokens import ANYONE, Grant, Tokens

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/openapi.json", documentation.PAGE, *documentation.ASSETS})

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]/@]+)(?::[0-9]{1,5})?")


def require_safe_bind(settings: Settings) -> None:
    """Raises ValueError when anybody on the network could reach the service without a token."""
    if not settings.auth and settings.host not in (*LOOPBACK_HOSTS, "::1"):
        raise ValueError(
            f"Without a token the service listens on loopback only, not on {settings.host}: it runs the code it is "
            "given. Leave the token on, or listen on 127.0.0.1."
        )


def read_or_make_token(home: Path) -> str:
    """The token of this home, made at the first start; readable by its owner alone."""
    path = home / TOKEN_FILE
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        # Whole or absent: a client may read it at any moment.
        made = home / f"{TOKEN_FILE}.{os.getpid()}.tmp"
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        made.rename(path)
    path.chmod(0o600)
    token = path.read_text().strip()
    if not token:
        raise ValueError(f"{path} is empty; delete it, and a new token is made.")
    return token


class HostGuard:
    """Refuses requests to another name than ``allowed``, and those of web pages of another origin."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = frozenset(name.lower() for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        refused = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refused.response() if refused else self._app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> Refusal | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        match = _HOST.fullmatch(host)
        if len(headers.getlist("host")) != 1 or match is None or match["name"].lower() not in self._allowed:
            detail = f"The Host header is {host[:100]!r}; this service answers to {', '.join(sorted(self._allowed))}."
            return Refusal("host_refused", detail + " Others are allowed by PT_ALLOWED_HOSTS.")
        if origin is not None and _netloc(origin) != host.lower():
            return Refusal("origin_refused", f"Pages of {origin[:100]!r} may not use this service.")
        return None


def _netloc(origin: str) -> str | None:
    """Host and port of an Origin header; None for ``null`` and for what is no http origin."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") and not parts.path else None


class TokenGuard:
    """Asks for ``Authorization: Bearer TOKEN`` on every path but the open ones, and notes in the scope what it grants."""

    def __init__(self, app: ASGIApp, tokens: Tokens, failures: Failures) -> None:
        self._app = app
        self._tokens = tokens
        self._failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401; 429 to whoever has earned too many of these."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                grant = self._grant(Headers(scope=scope).get("authorization", ""))
            except Refusal as refused:
                counted = self._failures.counted(scope["client"], refused)
                await counted.response()(scope, receive, send)
                return
            scope["grant"] = grant
            if (exchange := current()) is not None:
                exchange.token = grant.name
        await self._app(scope, receive, send)

    def _grant(self, authorization: str) -> Grant:
        scheme, _, given = authorization.partition(" ")
        grant = self._tokens.grant_of(given.strip() if scheme.lower() == "bearer" else "")
        if self._tokens.unnoted(grant):
            asyncio.get_running_loop().run_in_executor(None, self._tokens.note, grant)
        return grant


class OpenGuard:
    """In the place of ``TokenGuard`` where the service asks for no token: anybody may everything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            scope["grant"] = ANYONE
        await self._app(scope, receive, send)
