"""What a run tries out before it trains, and what it takes from a checkpoint instead."""

from collections.abc import Callable

from schemas.events import Alert, Log, RunTuned
from schemas.request import TrainingRequest
from trainer_core.channel import Channel
from trainer_core.loop.optimizers import default_learning_rate
from trainer_core.loop.saving import saved_choice
from trainer_core.loop.trainer import Trainer
from trainer_core.loop.tuning.learning_rate import find_learning_rate

RATE = "learningRate"


def settled_learning_rate(request: TrainingRequest, parameters: int) -> float:
    """The rate to begin with: the one asked for, or the optimizer's usual one for so many ``parameters``. Where it is to be
    searched for, a run that is resumed goes on with the one that its checkpoint was trained with."""
    training = request.training_config
    usual = training.learning_rate or default_learning_rate(training, parameters)
    wanted = training.rate_search
    if wanted is None or wanted.action == "suggest":
        return usual
    return float(saved_choice(request.checkpoint_config, RATE) or usual)


def tune(
    trainer: Trainer,
    request: TrainingRequest,
    learning_rate: float,
    train_with: Callable[[float], None],
    channel: Channel,
) -> list[RunTuned]:
    """Search for what ``request`` wants searched for, and have the run ``train_with`` it; nothing in a run that is resumed."""
    wanted = request.training_config.rate_search
    if wanted is None or request.checkpoint_config.resume_from is not None:
        return []
    text = f"Looking for a learning rate: up to {wanted.steps} steps, which are then undone."
    channel.emit(Log(level="info", stream="worker", text=text))
    tuned = find_learning_rate(trainer, wanted, learning_rate)
    if tuned.used != learning_rate:
        train_with(tuned.used)
    return [tuned]


def without_searches(request: TrainingRequest) -> TrainingRequest:
    """``request`` without the searches whose place what was found takes, or what was taken instead: made again, it is the same
    run and searches no more."""
    wanted = request.training_config.rate_search
    if wanted is None or wanted.action == "suggest":
        return request
    training = request.training_config.model_copy(update={"learning_rate_finder": False})
    return request.model_copy(update={"training_config": training})


def alerts_of(tuned: list[RunTuned]) -> list[Alert]:
    """What a person should know: that something was looked for in vain."""
    return [
        Alert(
            code="learning_rate_not_found",
            level="warning",
            message=f"The learning-rate finder suggests none, and the run trains with {entry.used:.3g}. {entry.reason}",
            remedy="Widen minLearningRate and maxLearningRate, or take more steps; a model that learns at no rate has another fault.",
        )
        for entry in tuned
        if entry.found is None
    ]
