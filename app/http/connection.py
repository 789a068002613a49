"""A connection: HTTP/1.1 as uvicorn speaks it, with bounds on how long a request may take to arrive."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.problems import MEDIA_TYPE, Refusal

_log = logging.getLogger(__name__)


class Connection(H11Protocol):
    """Answers 408 to a head that is not whole after ``head_seconds``, and drops a request whose body has not come, be
    it read or not, when ``body_seconds`` more have passed: a trickle of bytes holds nothing for ever. So it drops a client
    that lets an answer, or a stream, lie for ``send_seconds``."""

    def __init__(
        self,
        *,
        head_seconds: float,
        body_seconds: float,
        send_seconds: float,
        refused: Callable[[str], None],
        **uvicorn: Any,
    ) -> None:
        super().__init__(**uvicorn)
        self._refused = refused
        self._head_seconds = head_seconds
        self._body_seconds = body_seconds
        self._send_seconds = send_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request may begin."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self._head_seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come, or be taken."""
        self._arrived()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client leaves 64 KiB, beside what the kernel holds for it, untaken."""
        super().pause_writing()
        self._untaken = self.loop.call_later(self._send_seconds, self._takes_nothing)

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self._taken()
        super().resume_writing()

    def handle_events(self) -> None:
        """Take what has come, and hold the rest of the request to its time."""
        awaited = self.conn.their_state
        super().handle_events()
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            if self._deadline is None or awaited is not h11.SEND_BODY:
                self._arrived()
                self._deadline = self.loop.call_later(self._head_seconds + self._body_seconds, self._too_slow)
        elif state is not h11.IDLE or not self.conn.trailing_data[0]:
            self._arrived()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self._head_seconds, self._too_slow)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered like every other error."""
        self._answer(Refusal("bad_request", msg))

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _taken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def _takes_nothing(self) -> None:
        self._untaken = None
        _log.warning("A client took nothing for %g s and is dropped.", self._send_seconds)
        self.transport.abort()

    def _too_slow(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            detail = f"The head of the request did not arrive whole within {self._head_seconds:g} s."
            self._answer(Refusal("request_timeout", detail))
        else:
            self.transport.close()

    def _answer(self, refusal: Refusal) -> None:
        response = refusal.response()
        self._refused(refusal.problem.code)
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(response.body)).encode()),
            (b"connection", b"close"),
        ]
        whole = (
            h11.Response(status_code=response.status_code, headers=headers),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        )
        for part in whole:
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()
