"""The request in which a sound model learns one batch by heart, whatever the run before it had asked for."""

from app.review.advice import made, rounded
from app.review.facts import Facts
from schemas.optimizers import find_optimizer
from schemas.problems import PatchOperation
from schemas.schedules import find_schedule
from schemas.summary import Recommendation, Summary

BATCHES = "/trainingConfig/overfitBatches"
_EPOCHS = "/trainingConfig/epochs"
_RATE = "/trainingConfig/learningRate"
_SCHEDULE = "/trainingConfig/scheduler"
_SCHEDULE_ARGUMENTS = "/trainingConfig/schedulerArgs"
_BATCH = "/dataConfig/batchSize"
_ACCUMULATION = "/trainingConfig/gradientAccumulation"
_SMOOTHING = "/trainingConfig/labelSmoothing"
# What would end it early, begin it elsewhere, keep the rate low for a while, or show other weights than the latest.
_IN_THE_WAY = (
    "/trainingConfig/earlyStopping",
    "/checkpointConfig/resumeFrom",
    "/trainingConfig/maxSteps",
    "/trainingConfig/warmupSteps",
    "/trainingConfig/warmupRatio",
    "/trainingConfig/weightAveraging",
)
# Steps in which small nets of three kinds had brought the loss of 32 samples below a tenth, with each of four optimizers
# (docs/monitoring.md); more samples than twice as many take a larger net or more steps.
_STEPS = 500
_SAMPLES = 32
# Plain gradient descent: torch's usual 0.001 is too low by far.
_DESCENT = {"SGD": 0.1, "ASGD": 0.1}
# A rate this many times the wanted one is still left as it is.
_NEAR = 3.0


def overfit_one_batch(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where nothing was learnt, and no rate explains it: is it the model, or the data?"""
    if summary is None or summary.verdict != "not_learning" or facts.setting(BATCHES) is not None:
        return None
    patch = [facts.change(BATCHES, 1), facts.change(_EPOCHS, max(_STEPS, int(facts.number(_EPOCHS))))]
    patch += [*_one_small_batch(facts), *_constant_rate(facts)]
    patch += [facts.change(_SMOOTHING, 0.0)] if facts.number(_SMOOTHING) > 0 else []
    patch += [PatchOperation(op="remove", path=path) for path in _IN_THE_WAY if facts.setting(path) is not None]
    reason = (
        f"On the held-out samples the model is hardly better than guessing. Let it learn one batch by heart, in {_STEPS} steps at a "
        "constant rate: where valLoss (of that very batch, without dropout) falls below a tenth of what it was after the first "
        "step, model and loss are sound, and the features say too little of the target, the targets are mixed up, or the "
        "learning rate was wrong; where it does not, look at the model and the loss."
    )
    return made("overfit_one_batch", reason, patch)


def _one_small_batch(facts: Facts) -> list[PatchOperation]:
    """Few enough samples that a small net can know them by heart."""
    batch, accumulation = int(facts.number(_BATCH)), int(facts.number(_ACCUMULATION, 1))
    few = max(_SAMPLES, int(facts.number("/trainingConfig/devices", 1)))
    if batch * accumulation <= 2 * few:
        return []
    smaller = [facts.change(_BATCH, few)] if batch > few else []
    return smaller + ([facts.change(_ACCUMULATION, 1)] if accumulation > 1 else [])


def _constant_rate(facts: Facts) -> list[PatchOperation]:
    """The optimizer's usual rate, by the model's size, or one at which plain descent gets there."""
    patch: list[PatchOperation] = []
    schedule = find_schedule(str(facts.setting(_SCHEDULE, "")))
    if schedule is not None and schedule.name != "constant":
        patch += [facts.change(_SCHEDULE, "constant"), facts.change(_SCHEDULE_ARGUMENTS, {})]
    optimizer = find_optimizer(str(facts.setting("/trainingConfig/optimizer", "")))
    if optimizer is None:
        return patch
    momentum = facts.number("/trainingConfig/optimizerArgs/momentum")
    descent = _DESCENT.get(optimizer.name)
    wanted = optimizer.learning_rate if descent is None else descent * max(0.01, 1 - momentum)
    if wanted <= facts.number(_RATE) <= _NEAR * wanted:
        return patch
    if descent is None:
        return patch + ([PatchOperation(op="remove", path=_RATE)] if facts.setting(_RATE) is not None else [])
    return [*patch, facts.change(_RATE, rounded(wanted))]
