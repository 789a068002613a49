"""The latest figures of a job, from what its worker says."""

from typing import Any

from schemas.events import EpochCompleted, EpochStarted, EventData, Step
from schemas.job import Progress

_FIGURES_OF_A_STEP = set(Progress.model_fields) & set(Step.model_fields)


def advance(progress: Progress, data: EventData) -> Progress:
    """``progress`` after ``data``. A figure that the newest report lacks (it was not finite) is absent, not stale."""
    match data:
        case EpochStarted():
            news: dict[str, Any] = {"epoch": data.epoch, "epochs": data.epochs}
        case Step():
            news = data.model_dump(include=_FIGURES_OF_A_STEP)
        case EpochCompleted():
            news = {
                "epoch": data.epoch,
                "loss_average": data.train_loss,
                "accuracy": data.train_accuracy,
                "val_loss": data.val_loss,
                "val_accuracy": data.val_accuracy,
                "learning_rate": data.learning_rate,
                "samples_per_second": data.samples_per_second,
            }
        case _:
            return progress
    return progress.model_copy(update=news)
