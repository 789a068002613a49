"""The exchange: the HTTP request that is being answered, as whoever says something about it names it."""

import re
from contextvars import ContextVar
from dataclasses import dataclass

from ulid import ULID

_SENT = re.compile(r"[A-Za-z0-9._:=+/-]{1,64}")


@dataclass
class Exchange:
    """One request: the name it goes by, and what became known of it on its way."""

    request_id: str
    token: str | None = None
    """Name of the token it came with; never the token."""
    traceparent: str | None = None
    """What a job of it is traced under, where traces are collected."""
    problem: str | None = None
    """Code of the problem it is answered with."""


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def begin(sent_id: str | None) -> Exchange:
    """The exchange of this task and of all that it starts. ``sent_id`` is the client's name for it; one that is longer
    than 64 characters, or has others than letters, digits and ``._:=+/-``, is replaced by one of ours."""
    usable = sent_id is not None and _SENT.fullmatch(sent_id) is not None
    exchange = Exchange(sent_id if sent_id is not None and usable else f"req_{ULID()}")
    _current.set(exchange)
    return exchange


def current() -> Exchange | None:
    """The exchange that this is part of; None where nobody has asked for it over HTTP."""
    return _current.get()
