"""uvicorn, with what this service does at its beginning and its end."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.http.connection import Connection
from app.instance import Instance
from app.observing.log_lines import logging_of
from app.service import Service
from app.settings import Settings

# The kernel drops a connection whose peer has taken nothing for so long.
_SILENT_PEER_MILLISECONDS = 60_000
_STOP_SECONDS = 10
_LOOK_SECONDS = 0.05

_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Listens for one service. ``should_exit = True``, or a signal, ends it; trainings go on."""

    def __init__(self, app: FastAPI, settings: Settings, instance: Instance, announce: Callable[[str], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=logging_of(settings.log_format, settings.log_level),
                access_log=False,
                server_header=False,
                ws="none",
                http=partial(  # type: ignore[arg-type]
                    Connection,
                    head_seconds=settings.head_seconds,
                    body_seconds=settings.body_seconds,
                    refused=app.state.metrics.refused,
                    send_seconds=settings.send_seconds,
                ),
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )
        self._app = app
        self._instance = instance
        self._announce = announce
        self._drain_seconds = settings.drain_seconds
        self._hurried = False
        self._socket = _listening(settings)
        self.url = _url(self._socket)

    def run_here(self) -> None:
        """Serve until told to end. Raises RuntimeError when the application could not start."""
        try:
            self.run(sockets=[self._socket])
        except SystemExit:
            # How uvicorn gives up at the start.
            raise RuntimeError("The service could not start; its log says why.") from None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say where."""
        await super().startup(sockets)
        if self.started:
            self._instance.announce(self.url)
            _log.info("Listening on %s", self.url)
            self._announce(self.url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End open streams and waits at once; without that a stream would hold the service as long as its job runs."""
        self._instance.withdraw()
        service: Service = self._app.state.service
        service.close()
        await self._drain()
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        """Answer for a while that nothing more is taken, for whoever sends requests here to see it and to go elsewhere."""
        if self._drain_seconds > 0 and not self._hurried:
            _log.info("Closing in %g s; a second signal closes now", self._drain_seconds)
        ends = time.monotonic() + self._drain_seconds
        while not self._hurried and time.monotonic() < ends:
            await asyncio.sleep(_LOOK_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A first signal ends in good order, one after it without draining, an interrupt after it at once; none is raised
        again at the end."""
        self._hurried = self.should_exit
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _listening(settings: Settings) -> socket.socket:
    """A bound socket. Raises OSError naming host and port."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_PEER_MILLISECONDS)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None
    return bound


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    # A client on this machine cannot speak to "any address".
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
