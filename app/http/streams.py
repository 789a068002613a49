"""Streams of events over HTTP: how they are spelt, and what happens to a client that does not read."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from schemas.events import Event

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

# A client that takes nothing for so long is dropped; the operating system then frees its connection.
SEND_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Stream(StreamingResponse):
    """A stream that ends when its client leaves, or takes nothing for ``send_seconds``."""

    def __init__(
        self,
        content: AsyncIterator[str],
        media_type: str,
        headers: dict[str, str] | None = None,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        # No proxy may hold lines back, or keep them.
        every = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, media_type=media_type, headers={**every, **(headers or {})})
        self._send_seconds = send_seconds

    async def stream_response(self, send: Send) -> None:
        """Send line after line, none of them for longer than the limit."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._send_seconds):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            _log.warning("A client took nothing for %g s; its stream is dropped.", self._send_seconds)


def compact(document: Any) -> str:
    """``document`` as one line of JSON."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def message(event: str, data: Any, identifier: int | None = None) -> str:
    """One server-sent event (HTML Living Standard, section 9.2)."""
    head = "" if identifier is None else f"id: {identifier}\n"
    return f"{head}event: {event}\ndata: {compact(data)}\n\n"


async def server_sent(events: AsyncIterator[Event | None]) -> AsyncIterator[str]:
    """Events as server-sent events; a silence as a comment."""
    yield "retry: 2000\n\n"
    async for event in events:
        yield ": still here\n\n" if event is None else message(event.type, event.to_json(), event.seq)


async def lines(events: AsyncIterator[Event | None]) -> AsyncIterator[str]:
    """Events as lines of JSON; a silence as an empty line."""
    async for event in events:
        yield "\n" if event is None else compact(event.to_json()) + "\n"
