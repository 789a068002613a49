"""Streams of events over HTTP: how they are spelt."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

from starlette.responses import StreamingResponse

from schemas.events import Event, JobCompleted

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

_PIECE_CHARACTERS = 1 << 14


class Stream(StreamingResponse):
    """A stream that ends when its client leaves, or is dropped for taking nothing (``app.http.connection``)."""

    def __init__(self, content: AsyncIterator[str], media_type: str, headers: dict[str, str] | None = None) -> None:
        # No proxy may hold lines back, or keep them.
        every = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, media_type=media_type, headers={**every, **(headers or {})})


def compact(document: Any) -> str:
    """``document`` as one line of JSON."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def message(event: str, data: Any, identifier: int | None = None) -> str:
    """One server-sent event (HTML Living Standard, section 9.2)."""
    head = "" if identifier is None else f"id: {identifier}\n"
    return f"{head}event: {event}\ndata: {compact(data)}\n\n"


# Said last where the service closes before the job has settled: a browser comes again by itself, after so many milliseconds.
_FAREWELL = "retry: 5000\n: the service is closing; the training goes on\n\n"


async def server_sent(events: AsyncIterator[Sequence[Event]], closing: Callable[[], bool]) -> AsyncIterator[str]:
    """Events as server-sent events; a silence as a comment; a farewell where ``closing`` is why they end."""
    yield "retry: 2000\n\n"
    last = ""
    async for news in events:
        last = news[-1].type if news else last
        if not news:
            yield ": still here\n\n"
        for piece in _pieces(message(event.type, event.to_json(), event.seq) for event in news):
            yield piece
    if closing() and last != JobCompleted.event_type:
        yield _FAREWELL


async def lines(events: AsyncIterator[Sequence[Event]]) -> AsyncIterator[str]:
    """Events as lines of JSON; a silence as an empty line."""
    async for news in events:
        if not news:
            yield "\n"
        for piece in _pieces(compact(event.to_json()) + "\n" for event in news):
            yield piece


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """``texts`` joined: a client far behind is sent few long pieces, none of which is much for one who takes nothing."""
    piece, length = [], 0
    for text in texts:
        piece.append(text)
        length += len(text)
        if length >= _PIECE_CHARACTERS:
            yield "".join(piece)
            piece, length = [], 0
    if piece:
        yield "".join(piece)
