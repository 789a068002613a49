"""How long the epoch in progress takes, that part included which was trained before a cut."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from trainer_core.monitors.waiting import Waiting


@dataclass(frozen=True)
class Spent:
    """Seconds of an epoch, and of these: ``training`` its steps, ``waiting`` for batches; and the ``samples`` trained."""

    seconds: float = 0.0
    training: float = 0.0
    waiting: float = 0.0
    samples: int = 0

    @property
    def evaluating(self) -> float:
        """Seconds after the last step."""
        return self.seconds - self.training

    @property
    def samples_per_second(self) -> float | None:
        """Speed of training; None while nothing was trained."""
        return self.samples / self.training if self.samples and self.training > 0 else None


class EpochClock:
    """Runs from the beginning of an epoch, or from where a run that goes on takes it up, to the next. A checkpoint keeps its
    reading: seconds after that are lost with the steps that they took."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._before = Spent()
        self._began: float | None = None
        self._trained: float | None = None
        self._waited = 0.0
        self._samples = 0

    def begin(self) -> None:
        """The epoch begins, or goes on."""
        self._began, self._trained, self._waited, self._samples = time.monotonic(), None, self._waiting.seconds, 0

    def count(self, samples: int) -> None:
        """A batch comes to be trained."""
        self._samples += samples

    def end_training(self) -> None:
        """The steps are taken; what is left is evaluation."""
        self._trained = time.monotonic()

    def read(self) -> Spent:
        """What the epoch took so far."""
        before = self._before
        if self._began is None:
            return before
        now = time.monotonic()
        return Spent(
            before.seconds + now - self._began,
            before.training + (now if self._trained is None else self._trained) - self._began,
            before.waiting + self._waiting.seconds - self._waited,
            before.samples + self._samples,
        )

    def finish(self) -> None:
        """The epoch is complete; the next one has taken nothing."""
        self._began, self._before = None, Spent()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return asdict(self.read())

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._began, self._before = None, replace(Spent(), **state)
