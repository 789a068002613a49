"""When patience has run out."""

from typing import Any, Literal

from schemas.result import EpochRow
from schemas.training import EarlyStopping, TrainingConfig
from trainer_core.epochs.watched import WatchedFigure

Verdict = Literal["improved", "waiting", "unmeasured", "stop"]


class EarlyStop:
    """Never stops. The null form."""

    monitor = ""
    patience = 0
    best_epoch = 0

    def observe(self, row: EpochRow) -> Verdict:
        """What to do after the epoch ``row``: stop on ``stop``, warn on ``unmeasured``."""
        return "waiting"

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""


class PatientStop(EarlyStop):
    """Stops when the figure has not improved by more than ``minDelta`` for ``patience`` measured epochs.

    An epoch whose figure is missing or NaN is ``unmeasured``: it is no improvement, and it uses up no patience.
    """

    def __init__(self, figure: WatchedFigure, patience: int, min_delta: float) -> None:
        self._figure = figure
        self._min_delta = min_delta
        self._best: float | None = None
        self._waited = 0
        self.monitor = figure.name
        self.patience = patience
        self.best_epoch = 0

    def observe(self, row: EpochRow) -> Verdict:
        """The verdict on ``row``. Raises Failure ``input_invalid`` when no figure has the monitor's name."""
        value = self._figure.read(row)
        if value is None:
            return "unmeasured"
        if self._figure.improves(value, self._best, self._min_delta):
            self._best, self._waited, self.best_epoch = value, 0, row.epoch
            return "improved"
        self._waited += 1
        return "stop" if self._waited >= self.patience else "waiting"

    def state(self) -> dict[str, Any]:
        """Figure, best value and epoch, and the patience used up."""
        return {
            "monitor": self.monitor,
            "mode": self._figure.mode,
            "best": self._best,
            "bestEpoch": self.best_epoch,
            "waited": self._waited,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; one of another figure, or of a run without early stopping, is left aside."""
        if (state.get("monitor"), state.get("mode")) == (self.monitor, self._figure.mode):
            self._best, self.best_epoch, self._waited = state["best"], state["bestEpoch"], state["waited"]


def build_early_stopping(training: TrainingConfig, has_validation: bool) -> EarlyStop:
    """Early stopping as the request says; absent: one that never stops."""
    wanted: EarlyStopping | None = training.early_stopping
    if wanted is None:
        return EarlyStop()
    pointer = "/trainingConfig/earlyStopping/monitor"
    figure = WatchedFigure.choose(wanted.monitor, wanted.mode, has_validation, pointer)
    return PatientStop(figure, wanted.patience, wanted.min_delta)
