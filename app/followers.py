"""Followers: who waits for news of which job. They are told that there is news, and read it in the store."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal, get_args

Kind = Literal["stream", "wait"]


class Follower:
    """One client that follows one job."""

    def __init__(self, kind: Kind | None = "wait") -> None:
        self.kind = kind
        self._news = asyncio.Event()

    def notify(self) -> None:
        """There is news."""
        self._news.set()

    async def wait(self, timeout: float | None) -> bool:
        """True at the first news since the previous wait (or since the following began); False after ``timeout`` s.

        News that came while the caller read the store ends the next wait at once, so none is missed.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()
        return self.take()

    def take(self) -> bool:
        """Whether there was news since it was last asked for, or waited for."""
        arrived = self._news.is_set()
        self._news.clear()
        return arrived


class Followers:
    """Everybody who follows a job. Used from the event loop's thread alone.

    ::

        with followers.follow(job_id) as follower:
            while not done:
                events = await asyncio.to_thread(store.events, job_id, seq)
                ...
                await follower.wait(timeout)
    """

    def __init__(self) -> None:
        self._following: dict[str, set[Follower]] = {}

    @contextmanager
    def follow(self, job_id: str, kind: Kind | None = "wait") -> Iterator[Follower]:
        """A follower of ``job_id``: begin before the first reading of the store, and nothing is missed. ``kind`` is None for
        one who is no client."""
        follower = Follower(kind)
        self._following.setdefault(job_id, set()).add(follower)
        try:
            yield follower
        finally:
            crowd = self._following[job_id]
            crowd.discard(follower)
            if not crowd:
                del self._following[job_id]

    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        found = Counter(follower.kind for crowd in self._following.values() for follower in crowd)
        return {kind: found[kind] for kind in get_args(Kind)}

    def notify(self, job_id: str) -> None:
        """Tell the followers of ``job_id`` that the store has something new."""
        for follower in self._following.get(job_id, ()):
            follower.notify()

    def wake(self) -> None:
        """Tell everybody to look: the service is closing."""
        for crowd in self._following.values():
            for follower in crowd:
                follower.notify()
