"""What the machine shows: memory that runs out, a loop that waits for its data."""

from typing import Any

from schemas.events import Alert
from trainer_core.monitors.monitor import Monitor, Status


class MemoryNearlyFull(Monitor):
    """Over 92 % of the memory that can be had is in use."""

    code = "memory_nearly_full"
    cool_down = 10_000
    _SHARE = 0.92

    def status(self, status: Status) -> Alert | None:
        """An alert while that much is in use."""
        if status.memory <= self._SHARE * status.memory_limit or not status.memory_limit:
            return None
        share = status.memory / status.memory_limit
        return Alert(
            code=self.code,
            level="warning",
            message=f"{status.memory / 2**30:.2f} GiB of {status.memory_limit / 2**30:.2f} GiB of memory are in use "
            f"({share:.0%}): a little more, and the run ends.",
            evidence={"step": status.step, "memoryBytes": status.memory, "memoryLimitBytes": status.memory_limit},
            remedy="Halve dataConfig.batchSize and double trainingConfig.gradientAccumulation: the same result in less memory.",
        )


class LoaderBound(Monitor):
    """The loop waits for batches: over 30 % of the time, in two stretches of three seconds of training one after another.

    Of one stretch the start of loader processes may be the cause. What the host waited while the device still had work does
    not count: ``behind`` is how long the device then had to be waited for.
    """

    code = "loader_bound"
    cool_down = 10_000
    _STRETCH, _SHARE, _STRETCHES = 3.0, 0.3, 2

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._seconds = self._waited = 0.0
        self._slow = 0

    def status(self, status: Status) -> Alert | None:
        """An alert after two slow stretches."""
        self._seconds += status.seconds
        self._waited += status.waited - status.behind
        if self._seconds < self._STRETCH:
            return None
        share = max(0.0, self._waited) / self._seconds
        self._seconds = self._waited = 0.0
        self._slow = self._slow + 1 if share > self._SHARE else 0
        if self._slow < self._STRETCHES:
            return None
        return Alert(
            code=self.code,
            level="warning",
            message=f"The loop waits for its data {share:.0%} of the time, with {self._workers} loader processes.",
            evidence={"step": status.step, "dataWaitShare": round(share, 3), "numWorkers": self._workers},
            remedy="More dataConfig.numWorkers, less work in the data set's __getitem__, or samples prepared once.",
        )

    def state(self) -> dict[str, Any]:
        """The stretch in progress."""
        return {"seconds": self._seconds, "waited": self._waited, "slow": self._slow}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._seconds, self._waited, self._slow = state["seconds"], state["waited"], state["slow"]
