"""Calls of a function on several ranks, each a process of its own, with what it gave on each of them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from trainer_core.launch import launch
from trainer_core.loop.ranks import Group
from trainer_core.stop import Stop

# A rank that waits for one which has gone another way is lost soon.
_LOST_AFTER = timedelta(seconds=15)


def call_on_ranks(world: int, kind: Callable[..., Group], function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What ``function(ranks, *arguments)`` gives, by rank, in a group of ``world`` CPUs of this ``kind``."""
    given: list[Any] = launch(world, _as_one, world, kind, function, arguments, stop=Stop(), on_cpus=True)
    return given


def _as_one(
    world: int, kind: Callable[..., Group], function: Callable[..., Any], arguments: tuple[Any, ...], _stop: Stop
) -> list[Any]:
    ranks = kind(["cpu"] * world, lost_after=_LOST_AFTER)
    try:
        return ranks.gather(function(ranks, *arguments))
    finally:
        ranks.close()
