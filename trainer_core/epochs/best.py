"""Which epoch is the best so far."""

from typing import Any

from schemas.checkpointing import CheckpointConfig
from schemas.result import EpochRow
from schemas.training import TrainingConfig
from trainer_core.epochs.watched import Mode, WatchedFigure


class Best:
    """The best epoch by one figure. Of equals the first; a missing or NaN figure is never the best."""

    def __init__(self, figure: WatchedFigure) -> None:
        self._figure = figure
        self.epoch: int | None = None
        self.value: float | None = None

    @property
    def monitor(self) -> str:
        """Name of the figure."""
        return self._figure.name

    @property
    def mode(self) -> Mode:
        """Which way is better."""
        return self._figure.mode

    def observe(self, row: EpochRow) -> bool:
        """Whether ``row`` is the best so far. Raises Failure ``input_invalid`` when no figure has that name."""
        value = self._figure.read(row)
        if value is None or not self._figure.improves(value, self.value):
            return False
        self.epoch, self.value = row.epoch, value
        return True

    def forget(self) -> None:
        """No epoch was the best: of the one that was there is no checkpoint."""
        self.epoch = self.value = None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"monitor": self.monitor, "mode": self.mode, "epoch": self.epoch, "value": self.value}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; a state of another figure is another question, and is left aside."""
        if (state["monitor"], state["mode"]) == (self.monitor, self.mode):
            self.epoch, self.value = state["epoch"], state["value"]


def build_best(checkpointing: CheckpointConfig, training: TrainingConfig, has_validation: bool) -> Best:
    """The judge of checkpoints: by ``checkpointConfig.monitor``, else early stopping's, else the loss."""
    stopping = training.early_stopping
    if checkpointing.monitor is None and stopping is not None and stopping.monitor is not None:
        pointer = "/trainingConfig/earlyStopping/monitor"
        mode = checkpointing.mode or stopping.mode
        return Best(WatchedFigure.choose(stopping.monitor, mode, has_validation, pointer))
    pointer = "/checkpointConfig/monitor"
    return Best(WatchedFigure.choose(checkpointing.monitor, checkpointing.mode, has_validation, pointer))
