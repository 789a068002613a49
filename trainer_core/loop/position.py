"""Where a run is: the only counters of the loop."""

import math
from dataclasses import asdict, dataclass


@dataclass
class Position:
    """``epoch`` epochs are complete, ``step`` optimizer steps were taken, and ``step_in_epoch`` batches of the epoch in
    progress are done. (A step that the gradient scaler skipped consumes a batch, but is no optimizer step.)"""

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0

    @property
    def number(self) -> int:
        """The epoch as people count: the one in progress, from 1; between two epochs, the one just completed."""
        return self.epoch + 1 if self.step_in_epoch or not self.epoch else self.epoch

    def ended(self, steps: int) -> int | None:
        """The index of the epoch after whose last step this is, of ``steps`` each; None in mid-epoch."""
        if not self.step_in_epoch:
            return self.epoch - 1
        return self.epoch if self.step_in_epoch >= steps else None

    def advance(self, stepped: bool) -> None:
        """One more batch is done."""
        self.step_in_epoch += 1
        self.step += stepped

    def finish_epoch(self) -> None:
        """One more epoch is complete."""
        self.epoch += 1
        self.step_in_epoch = 0

    def state(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return asdict(self)

    def restore(self, state: dict[str, int]) -> None:
        """Go on from ``state``."""
        self.epoch, self.step, self.step_in_epoch = state["epoch"], state["step"], state["step_in_epoch"]


@dataclass(frozen=True)
class Length:
    """How long a run is: ``epochs`` of ``steps_per_epoch`` optimizer batches each, cut at ``max_steps``."""

    epochs: int
    steps_per_epoch: int
    max_steps: int | None = None

    @staticmethod
    def of(
        samples: int, optimizer_batch: int, epochs: int, max_steps: int | None, limit: int | None = None
    ) -> "Length":
        """The length of ``epochs`` over ``samples``, taken ``optimizer_batch`` at a time (the last may be short), and at most
        ``limit`` times."""
        steps = math.ceil(samples / optimizer_batch)
        return Length(epochs, steps if limit is None else min(steps, limit), max_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        steps = self.epochs * self.steps_per_epoch
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def steps_of_epoch(self, epoch: int) -> int:
        """Optimizer batches of the epoch with index ``epoch``: fewer where ``max_steps`` cuts it."""
        return max(0, min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch))

    def reached(self, position: Position) -> bool:
        """Whether nothing is left to train."""
        return position.epoch >= self.epochs or position.step >= self.total_steps

    def state(self) -> dict[str, int | None]:
        """What a checkpoint keeps, to tell whether a run goes on as it was meant."""
        return asdict(self) | {"total_steps": self.total_steps}
