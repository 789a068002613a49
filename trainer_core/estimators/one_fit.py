"""What has no effect on an estimator, beyond what the engine does not look at."""

from schemas.effects import Idle
from schemas.events import Alert

# An estimator that is trained by one fit has one epoch, which is one checkpoint.
_BY_EPOCHS = (
    "/trainingConfig/epochs",
    "/trainingConfig/earlyStopping",
    "/dataConfig/shuffle",
    "/checkpointConfig/saveEvery",
    "/checkpointConfig/keepLast",
)


def idle_in_one_fit(name: str) -> list[Idle]:
    """The settings of epochs, which have no effect on an estimator called ``name`` that is trained by one fit."""
    return [Idle(pointer, f"{name} is trained by one fit") for pointer in _BY_EPOCHS]


def unused_loss(name: str) -> Alert:
    """That the estimator called ``name`` does not learn by the loss that the model file defines."""
    return Alert(
        code="no_effect",
        level="warning",
        message=f"Without effect: the loss of the model file. The reason: {name} has its own.",
        evidence={"pointers": ["/modelPath"]},
        remedy="Set the estimator's own loss where the model file makes it.",
    )
