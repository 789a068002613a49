"""Feeds: the newest events of a job that is followed, read from the store once for all who follow it."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice

from app.followers import Follower, Followers
from schemas.events import Event

_PAGE = 1000


class Feed:
    """The events of one job. ``read(after)`` gives those of the store with a greater number, a page at most; it may block."""

    def __init__(self, read: Callable[[int], Sequence[Event]], watching: Follower) -> None:
        self._read = read
        self._watching = watching
        self._newest: deque[Event] = deque(maxlen=_PAGE)
        self._more = False
        self._lock = asyncio.Lock()

    async def after(self, seq: int) -> Sequence[Event]:
        """Events with a greater number, in order: all that there was news of, or a page for one who is far behind."""
        async with self._lock:
            if not self._newest or seq < self._newest[0].seq - 1:
                events = await asyncio.to_thread(self._read, seq)
                if events and (not self._newest or events[-1].seq > self._newest[-1].seq):
                    self._newest, self._more = deque(events, _PAGE), len(events) == _PAGE
                return events
            while self._watching.take() or self._more:
                self._more = False
                while news := await asyncio.to_thread(self._read, self._newest[-1].seq):
                    self._newest.extend(news)
            # The deque may have let go of what this one has not seen.
            if seq >= self._newest[0].seq - 1:
                return list(islice(self._newest, max(0, seq - self._newest[0].seq + 1), None))
        return await asyncio.to_thread(self._read, seq)


@dataclass
class _Shared:
    feed: Feed
    leave: ExitStack
    users: int = 0


class Feeds:
    """The feed of each job that somebody follows. Used from the event loop's thread alone."""

    def __init__(self, read: Callable[[str, int, int], Sequence[Event]], followers: Followers) -> None:
        self._read = read
        self._followers = followers
        self._shared: dict[str, _Shared] = {}

    @contextmanager
    def of(self, job_id: str) -> Iterator[Feed]:
        """The feed of ``job_id``, which lasts as long as anybody has it."""
        shared = self._shared.get(job_id) or self._begin(job_id)
        shared.users += 1
        try:
            yield shared.feed
        finally:
            shared.users -= 1
            if not shared.users:
                del self._shared[job_id]
                shared.leave.close()

    def _begin(self, job_id: str) -> _Shared:
        leave = ExitStack()
        watching = leave.enter_context(self._followers.follow(job_id, None))
        self._shared[job_id] = _Shared(Feed(lambda after: self._read(job_id, after, _PAGE), watching), leave)
        return self._shared[job_id]
