"""What a run tries out before it trains."""

from collections.abc import Callable, Collection

from torch import nn

from schemas.events import Alert, Log, RunTuned
from schemas.request import TrainingRequest
from trainer_core.loop.choices import COMPILE, RATE
from trainer_core.loop.material import Surroundings
from trainer_core.loop.optimizers import default_learning_rate
from trainer_core.loop.preparing.compiling import Compilation, Mode, compile_network
from trainer_core.loop.preparing.trial import Trial
from trainer_core.loop.recovery.fitting import has_batch_norm, largest_cut, shares_of
from trainer_core.loop.saving import saved_choice
from trainer_core.loop.trainer import Trainer
from trainer_core.loop.tuning import batch_size, learning_rate
from trainer_core.loop.tuning.batch_size import find_micro_batch
from trainer_core.loop.tuning.learning_rate import find_learning_rate


def settled_learning_rate(around: Surroundings, parameters: int) -> float:
    """The rate to begin with: the one asked for, or the optimizer's usual one for so many ``parameters``. Where it is to be
    searched for, a run that is resumed goes on with the one that its checkpoint was trained with."""
    training = around.request.training_config
    usual = training.learning_rate or default_learning_rate(training, parameters)
    wanted = training.rate_search
    if wanted is None or wanted.action == "suggest":
        return usual
    saved = around.ranks.from_first(lambda: saved_choice(around.request.checkpoint_config, RATE))
    return float(saved or usual)


def compile_where_it_pays(
    around: Surroundings, model: nn.Module, trial: Trial, passes: int, regular: Callable[[], Collection[int]]
) -> Compilation:
    """``model`` for ``passes`` of a run, of ``regular`` sizes, compiled as the request says."""
    return compile_network(
        model,
        _mode(around),
        trial,
        passes,
        barrier=_barrier_to_compiling(around),
        agree=lambda own: not around.ranks.any(not own),
        regular=regular,
    )


def _mode(around: Surroundings) -> Mode:
    """What the request says of compiling; ``auto`` was decided when a run began that is resumed: its bits depend on it."""
    wanted, saved = around.request.training_config.compile, None
    if wanted == "auto":
        saved = around.ranks.from_first(lambda: saved_choice(around.request.checkpoint_config, COMPILE))
    elif around.ranks.strategy in ("fsdp", "dp"):
        return "off"
    return "on" if saved == "on" else "off" if saved == "off" else wanted


def _barrier_to_compiling(around: Surroundings) -> str | None:
    """What of the request stands against compiling, as the end of a sentence."""
    if around.request.training_config.deterministic:
        return "with trainingConfig.deterministic a measurement is not to decide over bits"
    strategy = around.ranks.strategy
    return f"with strategy {strategy} nothing is compiled" if strategy in ("fsdp", "dp") else None


def tune_size(around: Surroundings, trainer: Trainer) -> list[RunTuned]:
    """Search for the samples that a device takes at a time, where that is wanted, and have ``trainer`` take so many. Not in a run
    that is resumed, nor in one that starts again because a size did not fit."""
    wanted = around.request.training_config.size_search
    if wanted is None or _goes_on(around) or around.limits.micro_batch is not None:
        return []
    _say(around, "Looking for how many samples a device takes at a time, by passes and steps which are then undone.")
    model, order = trainer.model, trainer.batches.order
    shares, smallest = (shares_of(order, around.ranks.world), 2) if has_batch_norm(model) else (set(), 1)
    tuned = find_micro_batch(trainer, wanted, lambda size: largest_cut(size, shares, smallest))
    trainer.memory.size = tuned.used
    return [tuned]


def tune_rate(
    around: Surroundings, trainer: Trainer, otherwise: float, train_with: Callable[[float], None]
) -> list[RunTuned]:
    """Search for a learning rate, where that is wanted, and have the run ``train_with`` it, or with the one it has ``otherwise``; not in a run that is
    resumed."""
    wanted = around.request.training_config.rate_search
    if wanted is None or _goes_on(around):
        return []
    _say(around, f"Looking for a learning rate: up to {wanted.steps} steps, which are then undone.")
    tuned = find_learning_rate(trainer, wanted, otherwise)
    if tuned.used != otherwise:
        train_with(tuned.used)
    return [tuned]


def without_searches(request: TrainingRequest) -> TrainingRequest:
    """``request`` without the searches whose place what was found takes, or what was taken instead: made again, it is the same
    run and searches no more."""
    training = request.training_config
    wanted = {"learning_rate_finder": training.rate_search, "batch_size_finder": training.size_search}
    done = {name: False for name, search in wanted.items() if search is not None and search.action == "use"}
    return request.model_copy(update={"training_config": training.model_copy(update=done)}) if done else request


def size_of(around: Surroundings, trainer: Trainer) -> int | None:
    """The samples at a time that a request has to name to be this run; None where it need not."""
    wanted, asked = around.request.training_config.size_search, around.request.data_config.micro_batch_size
    return trainer.memory.size if wanted is not None and wanted.action == "use" else asked


def alerts_of(tuned: list[RunTuned], trainer: Trainer) -> list[Alert]:
    """What a person should know: what was looked for in vain, and where a size makes a difference to the result."""
    found = []
    for entry in tuned:
        if entry.found is None and entry.setting == learning_rate.SETTING:
            found.append(_no_rate(entry))
        if entry.setting == batch_size.SETTING and entry.found is not None and has_batch_norm(trainer.model):
            message = f"Batch normalisation sees the samples of one pass: with {entry.used} at a time the result is another than with more or fewer."
            remedy = "Use group or layer normalisation."
            found.append(Alert(code="batch_norm_sees_a_pass", level="warning", message=message, remedy=remedy))
    return found


def _no_rate(entry: RunTuned) -> Alert:
    return Alert(
        code="learning_rate_not_found",
        level="warning",
        message=f"The learning-rate finder suggests none, and the run trains with {entry.used:.3g}. {entry.reason}",
        remedy="Widen minLearningRate and maxLearningRate, or take more steps; a model that learns at no rate has another fault.",
    )


def _goes_on(around: Surroundings) -> bool:
    return around.ranks.from_first(lambda: around.request.checkpoint_config.resume_from is not None)


def _say(around: Surroundings, text: str) -> None:
    around.channel.emit(Log(level="info", stream="worker", text=text))
