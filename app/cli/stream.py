"""Server-sent events: bytes of a response body to messages (HTML Living Standard, section 9.2.6)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One dispatched message."""

    id: str
    event: str
    data: str


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """Whole lines, without their ends. Cut at CR LF or LF alone: a JSON string may hold other line separators."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")


def messages_of(chunks: Iterable[bytes]) -> Iterator[Message]:
    """Messages, as soon as each is whole. Comments (keep-alives) and a message cut off at the end are dropped."""
    identifier, event, data = "", "message", list[str]()
    for line in lines_of(chunks):
        if not line:
            if data:
                yield Message(identifier, event, "\n".join(data))
            event, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            identifier = value
        elif name == "event":
            event = value
        elif name == "data":
            data.append(value)
