"""How long a loop waits for its batches."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Waiting:
    """A clock that runs while the loop asks for the next batch, in ``seconds`` of this host since the run began.

    Two looks at the clock a batch, and no wait for a device: on a GPU, batches that are picked there seem to cost nothing,
    because the host goes on at once.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, batches: Iterable[T]) -> Iterator[T]:
        """``batches``, timed."""
        clock, source = time.perf_counter, iter(batches)
        while True:
            began = clock()
            try:
                batch = next(source)
            except StopIteration:
                return
            finally:
                self.seconds += clock() - began
            yield batch
