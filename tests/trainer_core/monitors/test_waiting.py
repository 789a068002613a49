"""The wait for batches is what the source takes, and nothing of what is done with them."""

import time
from collections.abc import Iterator

import pytest

from trainer_core.monitors.waiting import Waiting


def spin(seconds: float) -> float:
    """Keep this core busy; how long that was."""
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        pass
    return time.perf_counter() - began


def test_only_the_source_counts():
    waiting, fetched, trained = Waiting(), [], []

    def slow() -> Iterator[int]:
        for batch in range(5):
            fetched.append(spin(0.01))
            yield batch

    began = time.perf_counter()
    for _ in waiting.over(slow()):
        trained.append(spin(0.02))
    whole = time.perf_counter() - began
    assert len(trained) == 5
    assert sum(fetched) <= waiting.seconds <= whole - sum(trained)


def test_a_source_that_fails_is_heard():
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    waiting = Waiting()
    with pytest.raises(OSError, match="gone"):
        list(waiting.over(failing()))
