"""What a run has left out, and how often it went back: what its bounds are measured by."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ledger:
    """``left_out`` are (epoch, batch), both from 0, in the order in which they were left out; the last ``recent`` of them
    since the run began or last went back. ``factor`` is what learning rates are multiplied by since."""

    left_out: list[tuple[int, int]] = field(default_factory=list)
    recent: int = 0
    rollbacks: int = 0
    factor: float = 1.0

    def leave_out(self, epoch: int, batch: int) -> None:
        """Note a batch."""
        self.left_out.append((epoch, batch))
        self.recent += 1

    def row_before(self, epoch: int, batch: int) -> int:
        """Batches right before this one of its epoch that were left out, since the run last went back."""
        recent = self.left_out[len(self.left_out) - self.recent :]
        row = 0
        while (epoch, batch - row - 1) in recent:
            row += 1
        return row

    def go_back(self, factor: float) -> None:
        """Note that the run goes back, and learns more slowly by ``factor``."""
        self.recent = 0
        self.rollbacks += 1
        self.factor *= factor

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        left_out = [list(place) for place in self.left_out]
        return {"leftOut": left_out, "recent": self.recent, "rollbacks": self.rollbacks, "factor": self.factor}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.left_out = [(epoch, batch) for epoch, batch in state["leftOut"]]
        self.recent, self.rollbacks, self.factor = state["recent"], state["rollbacks"], state["factor"]
