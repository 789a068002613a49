"""Followers: news between a reading and a wait ends the wait at once."""

import asyncio

from app.followers import Followers
from tests.app.scene import in_a_loop


@in_a_loop
async def test_news_before_the_wait_is_not_missed_and_counts_once():
    followers = Followers()
    with followers.follow("a") as follower:
        followers.notify("a")
        followers.notify("a")
        assert await follower.wait(None)
        assert not await follower.wait(0)


@in_a_loop
async def test_everyone_hears_of_their_own_job_alone():
    followers = Followers()
    with followers.follow("a") as first, followers.follow("a") as second, followers.follow("b") as other:
        waits = [asyncio.create_task(follower.wait(None)) for follower in (first, second)]
        followers.notify("a")
        assert await asyncio.gather(*waits) == [True, True]
        assert not await other.wait(0)
        followers.wake()
        assert await other.wait(None)


@in_a_loop
async def test_who_has_left_is_forgotten():
    followers = Followers()
    with followers.follow("a"):
        pass
    followers.notify("a")
    assert followers._following == {}
