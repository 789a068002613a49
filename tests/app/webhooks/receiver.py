"""A receiver of webhooks for tests: a real HTTP server on loopback that answers as it is told, and keeps what it got."""

import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """``answers`` are given one after another, and the last of them from then on: a status, or headers with one."""

    port: int
    answers: list[int | tuple[int, dict[str, str]]]
    received: "Queue[Received]" = field(default_factory=Queue)
    gate: threading.Event | None = None
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str = "/hook") -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}{path}"

    def next(self) -> Received:
        """The next request, which is waited for."""
        return self.received.get(timeout=60)

    def nothing_more(self) -> bool:
        """Whether all that came has been looked at."""
        return self.received.empty()


@contextmanager
def receiving(
    *answers: int | tuple[int, dict[str, str]],
    port: int = 0,
    endless: bool = False,
    gate: threading.Event | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Receiver]:
    """A receiver that listens. ``endless`` bodies of answers never stop; with a ``gate`` no answer is given before it opens."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with receiver.lock:
                receiver.at_once += 1
                receiver.most_at_once = max(receiver.most_at_once, receiver.at_once)
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
            receiver.received.put(Received(self.path, headers, body))
            if gate is not None:
                gate.wait(60)
            with receiver.lock:
                receiver.at_once -= 1
            status, more = answer if isinstance(answer, tuple) else (answer, {})
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                while endless:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(server.server_address[1], list(answers) or [204], gate=gate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def events_of(received: Sequence[Received]) -> list[str]:
    """The types of events, in the order in which they came."""
    return [request.document["type"] for request in received]
