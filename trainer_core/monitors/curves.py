"""What the learning curve shows, epoch by epoch: overfitting, a plateau, a loss that never moved."""

from collections.abc import Iterator
from statistics import median
from typing import Any

from schemas.events import Alert
from schemas.result import EpochRow
from trainer_core.monitors.monitor import Monitor, Readings
from trainer_core.monitors.window import Window


class Overfitting(Monitor):
    """Validation loss rises while training loss falls, both as means of five epochs.

    The rise since the lowest mean is larger than 5 % of it, than four times the usual change from one epoch to the next,
    and than 1 % of the first validation loss; training loss has fallen by 2 % since.
    """

    code = "overfitting"
    cool_down = 10
    _EPOCHS, _CHANGES, _RISE, _NOISE, _FLOOR, _FALL = 5, 32, 0.05, 4.0, 0.01, 0.02

    def __init__(self) -> None:
        self._train, self._validation = Window(self._EPOCHS), Window(self._EPOCHS)
        self._changes = Window(self._CHANGES)
        self._first: float | None = None
        self._last: float | None = None
        self._lowest: dict[str, float] | None = None

    def epoch(self, row: EpochRow) -> Alert | None:
        """An alert while validation loss stands that high."""
        if row.train_loss is None or row.val_loss is None:
            return None
        self._note(row.train_loss, row.val_loss)
        if not self._validation.full:
            return None
        validation, train = self._validation.mean, self._train.mean
        if self._lowest is None or validation < self._lowest["validation"]:
            self._lowest = {"epoch": row.epoch, "validation": validation, "train": train}
            return None
        return self._judge(row, validation, train, self._lowest)

    def _note(self, train: float, validation: float) -> None:
        if self._last is not None:
            self._changes.add(abs(validation - self._last))
        self._first = validation if self._first is None else self._first
        self._last = validation
        self._train.add(train)
        self._validation.add(validation)

    def _judge(self, row: EpochRow, validation: float, train: float, lowest: dict[str, float]) -> Alert | None:
        least, noise, floor = (
            self._RISE * abs(lowest["validation"]),
            self._NOISE * self._changes.median,
            self._FLOOR * abs(self._first or 0.0),
        )
        rises = validation - lowest["validation"] > max(least, noise, floor)
        falls = lowest["train"] - train > self._FALL * abs(lowest["train"])
        if not (rises and falls):
            return None
        message = (
            f"Overfitting since about epoch {lowest['epoch']:.0f}: valLoss rose from {lowest['validation']:.4g} to "
            f"{validation:.4g} while trainLoss fell from {lowest['train']:.4g} to {train:.4g} (means of "
            f"{self._EPOCHS} epochs)."
        )
        return Alert(
            code=self.code,
            level="warning",
            message=message,
            evidence={
                "epoch": row.epoch,
                "sinceEpoch": int(lowest["epoch"]),
                "valLoss": [lowest["validation"], validation],
                "trainLoss": [lowest["train"], train],
            },
            remedy="Stop early (trainingConfig.earlyStopping), regularise (weightDecay, dropout), or add data.",
        )

    def state(self) -> dict[str, Any]:
        """The latest epochs, and the lowest point."""
        return {
            "train": self._train.state(),
            "validation": self._validation.state(),
            "changes": self._changes.state(),
            "first": self._first,
            "last": self._last,
            "lowest": self._lowest,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._train.restore(state["train"])
        self._validation.restore(state["validation"])
        self._changes.restore(state["changes"])
        self._first, self._last, self._lowest = state["first"], state["last"], state["lowest"]


class Plateau(Monitor):
    """Training loss has stopped falling although the learning rate has not: what is left of the run will hardly change it.

    The mean of five epochs is less than 0.5 % below that of the five before, and less than 2 % above it, at a rate above a
    tenth of its highest, with a loss above 2 % of the first epoch's. Of the ``epochs`` of the run at least a tenth is left.
    """

    code = "plateau"
    cool_down = 20
    _HALF, _FALL, _RISE, _RATE, _FITTED, _LEFT = 5, 0.005, 0.02, 0.1, 0.02, 0.1

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._losses = Window(2 * self._HALF)
        self._first: float | None = None
        self._highest_rate = 0.0

    def epoch(self, row: EpochRow) -> Alert | None:
        """An alert while nothing moves."""
        if row.train_loss is None:
            return None
        rate = row.learning_rate
        self._highest_rate = max(self._highest_rate, rate or 0.0)
        self._first = row.train_loss if self._first is None else self._first
        self._losses.add(row.train_loss)
        has_rate = rate is None or rate > self._RATE * self._highest_rate
        fitted = abs(row.train_loss) <= self._FITTED * abs(self._first)
        too_late = self._epochs - row.epoch < self._LEFT * self._epochs
        if not self._losses.full or not has_rate or fitted or too_late:
            return None
        losses = self._losses.state()
        before, after = (sum(half) / self._HALF for half in (losses[: self._HALF], losses[self._HALF :]))
        if not -self._RISE * abs(before) < before - after <= self._FALL * abs(before):
            return None
        message = (
            f"trainLoss has hardly fallen over the last {2 * self._HALF} epochs: {before:.4g}, then {after:.4g} (means of "
            f"{self._HALF}); {self._epochs - row.epoch} epochs are left."
        )
        return Alert(
            code=self.code,
            level="info",
            message=message,
            evidence={"epoch": row.epoch, "trainLoss": [before, after], "learningRate": rate},
            remedy="Another learningRate, a schedule that lowers it (cosine, ReduceLROnPlateau), or fewer epochs.",
        )

    def state(self) -> dict[str, Any]:
        """The latest losses, the first, and the highest rate."""
        return {"losses": self._losses.state(), "first": self._first, "highestRate": self._highest_rate}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._losses.restore(state["losses"])
        self._first, self._highest_rate = state["first"], state["highestRate"]


class DeadStart(Monitor):
    """Nothing is learnt from the first step on: every gradient was exactly zero for 20 steps, or the loss of the first
    three epochs is the same to one part in 10,000 although the rate no longer rises."""

    code = "dead_start"
    cool_down = 1000
    _STEPS, _EPOCHS, _SAME = 20, 3, 1e-4

    def __init__(self) -> None:
        self._zeros = 0
        self._losses: list[float] = []
        self._last_rate: float | None = None
        self._alive = False

    def steps(self, readings: Readings) -> Iterator[tuple[int, Alert]]:
        """What to say when the first gradients were all zero."""
        if self._alive:
            return
        for step, norm in zip(readings.steps.tolist(), readings.norms.tolist(), strict=True):
            self._alive = self._alive or norm > 0
            self._zeros += norm == 0
            if norm == 0 and self._zeros == self._STEPS and not self._alive:
                message = f"The gradient of the first {self._STEPS} steps was exactly zero: nothing is learnt."
                yield step, self._alert(message, {"step": step, "gradNorm": 0.0})

    def epoch(self, row: EpochRow) -> Alert | None:
        """An alert after the third epoch with one and the same loss."""
        if row.train_loss is None or len(self._losses) >= self._EPOCHS:
            return None
        rising = row.learning_rate is not None and self._last_rate is not None and row.learning_rate > self._last_rate
        self._last_rate = row.learning_rate
        self._losses = [row.train_loss] if rising else [*self._losses, row.train_loss]
        spread = max(self._losses) - min(self._losses)
        if len(self._losses) < self._EPOCHS or spread > self._SAME * abs(median(self._losses)):
            return None
        return self._alert(
            f"trainLoss is {row.train_loss:.6g} and has not moved in {self._EPOCHS} epochs: nothing is learnt.",
            {"epoch": row.epoch, "trainLoss": self._losses, "learningRate": row.learning_rate},
        )

    def _alert(self, message: str, evidence: dict[str, Any]) -> Alert:
        return Alert(
            code=self.code,
            level="warning",
            message=message,
            evidence=evidence,
            remedy="Is learningRate large enough, requires_grad set, the output connected to the loss, no activation dead?",
        )

    def state(self) -> dict[str, Any]:
        """What was seen of the start."""
        return {"zeros": self._zeros, "losses": self._losses, "lastRate": self._last_rate, "alive": self._alive}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._zeros, self._losses = state["zeros"], list(state["losses"])
        self._last_rate, self._alive = state["lastRate"], state["alive"]
