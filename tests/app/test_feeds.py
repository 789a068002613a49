"""Feeds: one reading for many, and nobody misses an event or sees one twice."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from app.feeds import Feeds
from app.followers import Followers
from schemas.events import Event
from tests.app.scene import TIME, in_a_loop
from tests.tiers import rounds


class Said:
    """A store of one job's events that counts its readings."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.readings = 0

    def say(self, times: int = 1) -> None:
        for _ in range(times):
            self.events.append(Event(seq=len(self.events), type="log", time=TIME, job_id="job", attempt=1, data={}))

    def read(self, job_id: str, after: int, limit: int) -> Sequence[Event]:
        self.readings += 1
        return self.events[after + 1 : after + 1 + limit]


@in_a_loop
async def test_a_crowd_costs_one_reading():
    said, followers = Said(), Followers()
    feeds = Feeds(said.read, followers)
    with feeds.of("job") as feed, feeds.of("job") as same:
        assert feed is same
        said.say(3)
        followers.notify("job")
        pages = await asyncio.gather(*(feed.after(seq) for seq in (-1, 0, 1, 2) * 25))
        assert [[event.seq for event in page] for page in pages[:4]] == [[0, 1, 2], [1, 2], [2], []]
        # The page, and that nothing follows it.
        assert said.readings <= 3
    assert feeds._shared == {}
    followers.notify("job")


@in_a_loop
async def test_who_comes_late_is_given_everything():
    said = Said()
    said.say(3500)
    with Feeds(said.read, Followers()).of("job") as feed:
        for _ in range(2):
            seen = [-1]
            while events := await feed.after(seen[-1]):
                seen += [event.seq for event in events]
            assert seen == list(range(-1, 3500))


@pytest.mark.torture
@in_a_loop
async def test_whoever_comes_whenever_sees_every_event_once(chance: random.Random):
    said, followers = Said(), Followers()
    feeds = Feeds(said.read, followers)
    total = rounds(5_000, 100_000)

    async def follow(begin: int) -> list[int]:
        seen = [begin]
        with followers.follow("job") as follower, feeds.of("job") as feed:
            while seen[-1] < total - 1:
                events = await feed.after(seen[-1])
                seen += [event.seq for event in events]
                if not events:
                    await follower.wait(None)
        return seen[1:]

    async def speak() -> None:
        while len(said.events) < total:
            said.say(chance.choice([1, 1, 1, 10, 1500]))
            del said.events[total:]
            followers.notify("job")
            await asyncio.sleep(0)

    speaking = asyncio.create_task(speak())
    following = {}
    for _ in range(50):
        begin = chance.randint(-1, len(said.events) - 1)
        following[asyncio.create_task(follow(begin))] = begin
        await asyncio.sleep(0)
    await speaking
    for task, begin in following.items():
        assert await task == list(range(begin + 1, total))
