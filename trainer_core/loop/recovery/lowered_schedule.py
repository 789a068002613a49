"""A schedule whose rates are lower since the run went back."""

from typing import Any

from trainer_core.loop.recovery.ledger import Ledger
from trainer_core.loop.schedules import Schedule


class LoweredSchedule(Schedule):
    """The rates of ``schedule`` times the ledger's factor, which is 1 until the run goes back."""

    def __init__(self, schedule: Schedule, ledger: Ledger) -> None:
        self._schedule = schedule
        self._ledger = ledger
        self.warmup_steps = schedule.warmup_steps

    def follow(self, schedule: Schedule) -> None:
        """Lower the rates of this one instead."""
        self._schedule, self.warmup_steps = schedule, schedule.warmup_steps

    def learning_rate(self, step: int, epoch: int) -> float:
        """The lowered rate for the step with index ``step`` in epoch ``epoch``."""
        return self._ledger.factor * self._schedule.learning_rate(step, epoch)

    def observe(self, figure: float | None) -> None:
        """Pass the figure on."""
        self._schedule.observe(figure)

    def state(self) -> dict[str, Any]:
        """What the schedule keeps."""
        return self._schedule.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._schedule.restore(state)
