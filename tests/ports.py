"""Ports of the loopback that are nobody else's: other tests, and the connections of all programs, take theirs meanwhile."""

import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST = 10_000


@contextmanager
def nobody() -> Iterator[int]:
    """A port at which nobody listens as long as this lasts, but for one who says that it may be shared (SO_REUSEADDR)."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port


def free_port() -> int:
    """A port that is free, for a program that is told of it: none of those that the kernel gives to whoever asks for any."""
    first_of_kernel = int(_RANGE.read_text().split()[0])
    chance = random.Random(os.urandom(8))
    while True:
        port = chance.randrange(_FIRST, first_of_kernel)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
