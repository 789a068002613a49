"""The learning curve so far."""

from typing import Any

from schemas.result import EpochRow

_COLUMNS = {
    "trainLoss": "train_loss",
    "valLoss": "val_loss",
    "trainAccuracy": "train_accuracy",
    "valAccuracy": "val_accuracy",
}


class Curve:
    """One row per completed epoch, those before a resume included."""

    def __init__(self) -> None:
        self.rows: list[EpochRow] = []

    def add(self, row: EpochRow) -> None:
        """Add the row of an epoch; one of the same epoch, done again after a resume, gives way."""
        self.rows = [*(earlier for earlier in self.rows if earlier.epoch < row.epoch), row]

    def has(self, epoch: int) -> bool:
        """Whether there is a row of ``epoch`` (from 1)."""
        return any(row.epoch == epoch for row in self.rows)

    def state(self) -> list[dict[str, Any]]:
        """What a checkpoint keeps."""
        return [row.to_json() for row in self.rows]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go on from ``state``."""
        self.rows = [EpochRow.model_validate(row) for row in state]


def row_of(
    epoch: int,
    figures: dict[str, float],
    learning_rate: float | None,
    speed: float | None,
    *,
    step: int,
    seconds: float,
    waited: float,
    evaluated: float,
) -> EpochRow:
    """The row of ``epoch`` (from 1): the usual figures in their columns, the others under ``metrics``. Of its ``seconds``
    the loop ``waited`` for batches, and ``evaluated``."""
    columns: dict[str, Any] = {_COLUMNS[name]: value for name, value in figures.items() if name in _COLUMNS}
    others = {name: value for name, value in figures.items() if name not in _COLUMNS}
    return EpochRow(
        epoch=epoch,
        learning_rate=learning_rate,
        seconds=seconds,
        samples_per_second=speed,
        step=step,
        data_wait_seconds=waited,
        evaluation_seconds=evaluated,
        metrics=others,
        **columns,
    )
