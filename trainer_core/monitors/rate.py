"""A learning rate that has run out before the run has."""

from typing import Any

from schemas.events import Alert
from trainer_core.monitors.monitor import Monitor, Status


class RateExhausted(Monitor):
    """The rate is below a thousandth of its highest, has been for 5 % of the steps, and a tenth of the steps is left."""

    code = "learning_rate_exhausted"
    cool_down = 1_000_000_000
    _SHARE, _FOR, _LEFT = 1e-3, 0.05, 0.1

    def __init__(self) -> None:
        self._highest = 0.0
        self._since: int | None = None

    def status(self, status: Status) -> Alert | None:
        """An alert, once, when steps are wasted."""
        rate = status.learning_rate
        if rate is None:
            return None
        self._highest = max(self._highest, rate)
        if rate >= self._SHARE * self._highest:
            self._since = None
            return None
        self._since = status.step if self._since is None else self._since
        left = status.total_steps - status.step
        lasting = status.step - self._since >= self._FOR * status.total_steps
        if not lasting or left < self._LEFT * status.total_steps:
            return None
        return Alert(
            code=self.code,
            level="warning",
            message=f"The learning rate is {rate:.3g}, below a thousandth of its highest ({self._highest:.3g}), and {left} of "
            f"{status.total_steps} steps are left: they will change little.",
            evidence={"step": status.step, "learningRate": rate, "highest": self._highest, "sinceStep": self._since},
            remedy="A schedule over all of the steps (cosine, linear), a slower decay, or fewer epochs.",
        )

    def state(self) -> dict[str, Any]:
        """The highest rate so far, and since when it is exhausted."""
        return {"highest": self._highest, "since": self._since}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._highest, self._since = state["highest"], state["since"]
