"""What watches a run: figures in, alerts out. A monitor decides nothing and changes nothing."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.events import Alert
from schemas.result import EpochRow


class Reading(NamedTuple):
    """One optimizer step: its number from 1, the mean loss of its batch, the gradient norm before clipping (None for what was
    not finite, or not there), and the number of targets that the loss is the mean of."""

    step: int
    loss: float | None
    norm: float | None
    count: float = 1.0


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

    def step(self, reading: Reading) -> Alert | None:
        """Look at one optimizer step."""
        return None

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
