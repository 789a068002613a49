"""One POST: to the address that was looked at, under its host's name, without following anybody elsewhere."""

import asyncio
import ssl
from dataclasses import dataclass

import httpx

from app.webhooks.targets import Forbidden, Targets, host_of

SECONDS = 10.0
_MOST_ADDRESSES = 4


@dataclass(frozen=True)
class Answer:
    """How a POST went: the status it was answered with, or why it was not."""

    status: int | None = None
    error: str | None = None
    retry_after: float | None = None

    @property
    def taken(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


class PinnedTransport(httpx.AsyncBaseTransport):
    """Resolves a name once, has its addresses judged, and connects to one of these. The certificate is that of the name."""

    def __init__(self, targets: Targets, trust: ssl.SSLContext | bool = True) -> None:
        self._targets = targets
        # No connection is kept: one to the same address may be meant for another name.
        self._inner = httpx.AsyncHTTPTransport(
            verify=trust, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer. Raises Forbidden, OSError, httpx.TransportError."""
        url = request.url
        host = host_of(url)
        port = url.port or (443 if url.scheme == "https" else 80)
        found = await asyncio.to_thread(self._targets.addresses, host, port)
        # The Host header was made of the name already; TLS has to be told.
        request.extensions = {**request.extensions, "sni_hostname": host}
        refused: httpx.ConnectError | None = None
        for address in found[:_MOST_ADDRESSES]:
            request.url = url.copy_with(host=address)
            try:
                return await self._inner.handle_async_request(request)
            except httpx.ConnectError as error:
                refused = error
        raise refused or httpx.ConnectError(f"{host} has no address")

    async def aclose(self) -> None:
        """Let go of every connection."""
        await self._inner.aclose()


class Sender:
    """Sends signed bodies, until it is closed."""

    def __init__(self, targets: Targets, seconds: float = SECONDS, trust: ssl.SSLContext | bool = True) -> None:
        self._targets = targets
        self._seconds = seconds
        self._trust = trust
        self._client: httpx.AsyncClient | None = None

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Send, and say how it went. What the receiver writes beside its status is not read."""
        flaw = self._targets.flaw(url)
        if flaw is not None:
            return Answer(error=f"Not sent: {flaw}.")
        every = {"Content-Type": "application/json", "User-Agent": "pytorch-trainer", **headers}
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._connected().stream("POST", url, content=body, headers=every) as response,
            ):
                return Answer(response.status_code, _why(response), _seconds_of(response))
        except Forbidden as forbidden:
            return Answer(error=f"Not sent: {forbidden}.")
        except TimeoutError:
            return Answer(error=f"No answer within {self._seconds:g} s.")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError) as error:
            return Answer(error=f"{type(error).__name__}: {error}"[:200])

    async def close(self) -> None:
        """Let go of every connection."""
        if self._client is not None:
            await self._client.aclose()

    def _connected(self) -> httpx.AsyncClient:
        """Made when there is something to send: most services never do, and certificates take memory."""
        if self._client is None:
            transport = PinnedTransport(self._targets, self._trust)
            self._client = httpx.AsyncClient(
                transport=transport, follow_redirects=False, trust_env=False, timeout=self._seconds
            )
        return self._client


def _why(response: httpx.Response) -> str | None:
    if 200 <= response.status_code < 300:
        return None
    moved = ", and redirects are not followed" if 300 <= response.status_code < 400 else ""
    return f"Answered {response.status_code}{moved}."


def _seconds_of(response: httpx.Response) -> float | None:
    said = response.headers.get("retry-after", "")
    return float(said) if said.isdecimal() and len(said) < 8 else None
