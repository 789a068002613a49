"""One consumer's own walk along the event log."""

import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from schemas.events import WorkerLine
from trainer_core.trackers.event_log import EventLog

_LONGEST_PAUSE = 60.0


class Consumer(Protocol):
    """What a tracker is. Each method may raise anything; ``take`` is then called again with the same lines."""

    seconds_between_reads: ClassVar[float]

    def take(self, lines: Sequence[WorkerLine]) -> None:
        """Deliver ``lines``; those that were delivered before must do no harm."""

    def close(self, state: str) -> None:
        """The run ended in ``state`` (``lost``: its worker is gone) and all its lines were taken."""

    def fail(self, reason: str) -> None:
        """Nothing more is tried."""


class Ending:
    """The end of the run, told once, awaited by every delivery."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self.state = "lost"

    def tell(self, state: str) -> None:
        """The run ended in ``state``."""
        self.state = state
        self._told.set()

    def wait(self, seconds: float) -> bool:
        """Whether the end was told, at most ``seconds`` from now."""
        return self._told.wait(seconds)


class Delivery(threading.Thread):
    """Feeds one consumer from its own reading of the log, so that another's delay or failure is not felt here.

    An error is followed by a pause (1 s, then twice as long each time, 60 s at most) and another try;
    the last try is made when the run has ended.
    """

    def __init__(self, consumer: Consumer, attempt_folder: Path, ending: Ending) -> None:
        super().__init__(name=type(consumer).__name__, daemon=True)
        self._consumer = consumer
        self._log = EventLog(attempt_folder)
        self._ending = ending
        self._undelivered: list[WorkerLine] = []

    def run(self) -> None:
        """Deliver until the end was told and the log is read out. The one broad ``except`` of this process."""
        usual = pause = self._consumer.seconds_between_reads
        over = False
        while not over:
            over = self._ending.wait(pause)
            try:
                self._deliver()
                if over:
                    self._consumer.close(self._ending.state)
                pause = usual
            except Exception as error:
                traceback.print_exc()
                sys.stderr.flush()
                if over:
                    self._consumer.fail(f"{type(error).__name__}: {error}")
                pause = min(max(1.0, 2 * pause), _LONGEST_PAUSE)

    def _deliver(self) -> None:
        while lines := self._undelivered or self._log.read():
            self._undelivered = lines
            self._consumer.take(lines)
            self._undelivered = []
