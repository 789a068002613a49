"""What watches a run: figures in, alerts out. A monitor decides nothing and changes nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.events import Alert
from schemas.result import EpochRow


@dataclass(frozen=True)
class Readings:
    """Optimizer steps in order, each column of shape (steps,): their numbers from 1, the mean loss of each batch and the
    gradient norm before clipping (NaN for what was not finite, or not there), and the number of targets in the batch."""

    steps: NDArray[np.int64]
    losses: NDArray[np.float64]
    norms: NDArray[np.float64]
    counts: NDArray[np.float64]


@dataclass(frozen=True)
class Status:
    """Where a run stands. Of the ``seconds`` of training since the status before, the loop waited ``waited`` for batches
    and ``behind`` for the device; ``memory`` and ``memory_limit`` are bytes, 0 where nobody knows them."""

    step: int
    total_steps: int
    learning_rate: float | None = None
    memory: int = 0
    memory_limit: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    behind: float = 0.0


class Monitor:
    """Watches nothing. The null form, and the base of the others: each looks at what concerns it.

    ``cool_down`` is how many steps (epochs, for what is watched by epochs) pass after an alert before the next.
    """

    code = ""
    cool_down = 1

    def steps(self, readings: Readings) -> Iterable[tuple[int, Alert]]:
        """Look at optimizer steps; the number of a step with what is to be said of it. Called once for many: a look at each
        from Python would cost a small model a tenth of its speed."""
        return ()

    def status(self, status: Status) -> Alert | None:
        """Look at where the run stands."""
        return None

    def epoch(self, row: EpochRow) -> Alert | None:
        """Look at a completed epoch."""
        return None

    def state(self) -> Any:
        """What a checkpoint keeps."""
        return None

    def restore(self, state: Any) -> None:
        """Go on from ``state``."""
