"""Where a webhook may go: https to public addresses, and to the hosts that the owner has named.

A URL is looked at where it is taken, for the answer to say what is wrong. What counts is the look at the address when it
is sent: a name may lead elsewhere by then.
"""

import re
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from ipaddress import ip_address
from threading import Lock

import httpx

from app.webhooks.addresses import is_public

Resolver = Callable[[str, int], Sequence[str]]

_NAME = re.compile(r"[a-z0-9._-]+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_SECONDS = 2.0
_KEPT_SECONDS = 5.0
_MOST_KEPT = 1000
_THREADS = 4


class Forbidden(Exception):
    """Nothing is sent there; the message says why."""


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of ``host``, in the order in which they should be tried. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Targets:
    """Judges URLs. ``allowed`` hosts may be anywhere, and be spoken to without TLS."""

    def __init__(self, allowed: Sequence[str], resolver: Resolver = resolve) -> None:
        self._allowed = frozenset(name.lower() for name in allowed)
        self._resolver = resolver
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolver")
        self._found: dict[str, tuple[float, str | None]] = {}
        self._lock = Lock()

    def flaw(self, text: str) -> str | None:
        """What is wrong with a URL, by its spelling alone; None when nothing is."""
        try:
            url = httpx.URL(text)
            host = host_of(url)
        except (httpx.InvalidURL, UnicodeError):
            return "it is no URL"
        if not text.isascii() or not text.isprintable() or " " in text:
            return "it has characters that a URL cannot have"
        if url.scheme not in ("https", "http") or not host:
            return "it is no https URL with a host"
        if url.port is not None and not 0 < url.port < 65536:
            return "there is no such port"
        if url.userinfo or url.fragment:
            return "a user, a password or a fragment has no place in it"
        if host in self._allowed:
            return None
        if url.scheme != "https":
            return "it is not https"
        return _flaw_of_host(host)

    def flaw_now(self, text: str) -> str | None:
        """As ``flaw``, and where its name leads to now. A name that cannot be resolved, or not in 2 seconds, is none: it is
        looked at again each time that something is sent."""
        flaw = self.flaw(text)
        if flaw is not None:
            return flaw
        host = host_of(httpx.URL(text))
        with self._lock:
            seen = self._found.get(host)
        if seen is not None and time.monotonic() - seen[0] < _KEPT_SECONDS:
            return seen[1]
        try:
            found: Future[Sequence[str]] = self._threads.submit(self.addresses, host, 443)
            found.result(_SECONDS)
        except Forbidden as forbidden:
            flaw = str(forbidden)
        except (OSError, TookTooLong):
            flaw = None
        with self._lock:
            if len(self._found) >= _MOST_KEPT:
                self._found.clear()
            self._found[host] = (time.monotonic(), flaw)
        return flaw

    def addresses(self, host: str, port: int) -> Sequence[str]:
        """Where to connect to for ``host``: nothing between this look and the connection asks for the name again.

        Raises Forbidden when any of its addresses is not public, OSError when it has none.
        """
        found = self._resolver(host, port)
        if host in self._allowed:
            return found
        flaw = _flaw_of_host(host) or next((_not_public(host) for address in found if not is_public(address)), None)
        if flaw is not None:
            raise Forbidden(flaw)
        return found


def host_of(url: httpx.URL) -> str:
    """The host of ``url`` as it is resolved: ASCII, in small letters."""
    return url.raw_host.decode("ascii").lower()


def _flaw_of_host(host: str) -> str | None:
    try:
        return None if is_public(str(ip_address(host))) else _not_public(host)
    except ValueError:
        pass
    if not _NAME.fullmatch(host):
        return f"{host[:100]!r} is no name of a host"
    labels = host.rstrip(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return f"{host} is a number that is no address as it is usually written"
    return _not_public(host) if len(labels) < 2 else None


def _not_public(host: str) -> str:
    return f"{host} is not at a public address, and not among PT_WEBHOOK_HOSTS"
