"""What to do after a run: few rules, each with its figures and the next request."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from app.review.facts import Facts
from schemas.optimizers import find_optimizer
from schemas.problems import PatchOperation
from schemas.schedules import find_schedule
from schemas.summary import Recommendation, RecommendationCode, Summary

_RATE = "/trainingConfig/learningRate"
_MICRO_BATCH = "/dataConfig/microBatchSize"
_SIZE_FINDER = "/trainingConfig/batchSizeFinder"
_RATE_FINDER = "/trainingConfig/learningRateFinder"
_EPOCHS = "/trainingConfig/epochs"
_STOPPING = "/trainingConfig/earlyStopping"
_DECAY = "/trainingConfig/weightDecay"
_SCHEDULE = "/trainingConfig/scheduler"
_SCHEDULE_ARGUMENTS = "/trainingConfig/schedulerArgs"
_ACCUMULATION = "/trainingConfig/gradientAccumulation"
_LOSS_ARGUMENTS = "/trainingConfig/lossArgs"
_BATCHES_BY_HEART = "/trainingConfig/overfitBatches"
_STEPS = "/trainingConfig/maxSteps"
_WORKERS = "/dataConfig/numWorkers"
_BATCH = "/dataConfig/batchSize"
_SAVE_STEPS = "/checkpointConfig/saveEverySteps"
_RESUME = "/checkpointConfig/resumeFrom"

# A wait or a stand-still of fewer seconds is not worth another request.
_WORTHWHILE = 5.0
_MOST_WORKERS = 16
# A rate that is nearer than by this factor makes no difference worth another request.
_WORTH_A_RATE = 1.5
# A rate is not worth a try above so many times the optimizer's usual one.
_FAR = 100
# By what share weight decay must be able to shrink the weights up to the best epoch.
_SHRINKS = 0.05
# How far the mean of the classes' recalls lies below the accuracy where rare classes are given up.
_GIVEN_UP = 0.1
# Steps in which a sound model learns a batch by heart.
_BY_HEART = 100
# Of the device's memory in use, below which twice the samples still fit: activations grow, weights do not.
_ROOM = 0.4

Rule = Callable[[Facts, Summary | None], Recommendation | None]


def recommend(facts: Facts, summary: Summary | None) -> list[Recommendation]:
    """What to do next, the most useful first. A patch changes settings that this run's engine looks at, and nothing else;
    applied to ``resolved`` it is another request that the gate admits."""
    better, cheaper = _follow(_BETTER, facts, summary), _follow(_CHEAPER, facts, summary)
    return [*better, *cheaper, *([] if better else _follow(_OTHERWISE, facts, summary))]


def _follow(rules: Sequence[Rule], facts: Facts, summary: Summary | None) -> list[Recommendation]:
    found = [rule(facts, summary) for rule in rules] if facts.resolved else []
    return [each for each in found if each is not None and all(facts.reads(move.path) for move in each.patch)]


def _lower_learning_rate(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """After divergence; not where the data themselves held what was not finite, and the error names no fix."""
    rate, error = facts.number(_RATE), facts.error
    if error is None or error.code != "diverged" or error.fix is None or rate <= 0:
        return None
    optimizer = find_optimizer(str(facts.setting("/trainingConfig/optimizer", "")))
    wanted = rate / 10 if optimizer is None else min(rate / 10, _FAR * optimizer.learning_rate)
    reason = f"The run diverged at learning rate {rate:.3g}: {_rounded(wanted):g}"
    reason += ", a tenth of it." if wanted == rate / 10 else f", which is still {_FAR} times what is usual."
    patch = [facts.change(_RATE, _rounded(wanted)), *_peak(facts, wanted / rate)]
    return _made("lower_learning_rate", reason, patch, learningRate=rate)


def _raise_learning_rate(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """When nothing was learnt at a rate far below the optimizer's usual one."""
    optimizer = find_optimizer(str(facts.setting("/trainingConfig/optimizer", "")))
    rate = facts.number(_RATE)
    if "dead_start" not in facts.alerts or optimizer is None or not 0 < rate < optimizer.learning_rate / 10:
        return None
    usual = optimizer.learning_rate
    reason = f"The loss did not move at learning rate {rate:.3g}; {optimizer.name} usually takes {usual:g}."
    return _made(
        "raise_learning_rate", reason, [facts.change(_RATE, usual), *_peak(facts, usual / rate)], learningRate=rate
    )


def _use_found_learning_rate(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where the finder was to suggest one, and it is another than the run had."""
    entry = next((entry for entry in facts.tuning if entry.setting == _RATE), None)
    rate = facts.number(_RATE)
    if entry is None or not isinstance(entry.found, int | float) or rate <= 0 or entry.found == entry.used:
        return None
    factor = entry.found / rate
    if 1 / _WORTH_A_RATE < factor < _WORTH_A_RATE:
        return None
    reason = f"The learning-rate finder suggests {entry.found:.3g}, and the run trained with {rate:.3g}. {entry.reason}"
    searches = facts.setting(_RATE_FINDER) is not None
    patch = [facts.change(_RATE, entry.found), *_peak(facts, factor)]
    patch += [PatchOperation(op="remove", path=_RATE_FINDER)] if searches else []
    return _made("use_found_learning_rate", reason, patch, learningRate=rate, found=entry.found)


def _use_found_micro_batch(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where the finder was to suggest a size, and it is another than the run had."""
    entry = next((entry for entry in facts.tuning if entry.setting == _MICRO_BATCH), None)
    if entry is None or not isinstance(entry.found, int) or entry.found == entry.used:
        return None
    reason = (
        f"The batch-size finder suggests {entry.found} samples at a time, and the run had {entry.used}. {entry.reason}"
    )
    patch = [facts.change(_MICRO_BATCH, entry.found)]
    patch += [PatchOperation(op="remove", path=_SIZE_FINDER)] if facts.setting(_SIZE_FINDER) is not None else []
    return _made("use_found_micro_batch", reason, patch, used=entry.used, found=entry.found)


def _stop_early(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Against overfitting, where nothing stopped it."""
    if summary is None or summary.verdict != "overfitting" or facts.setting(_STOPPING) is not None:
        return None
    patience = max(3, round(0.1 * len(facts.rows)))
    reason = (
        f"Overfitting: valLoss was lowest in epoch {_lowest_epoch(facts)}, and trainLoss went on falling. The epochs after "
        f"the best took {summary.seconds_after_best:.3g} s, {summary.share_after_best:.0%} of the training."
    )
    stopping = {"monitor": "valLoss", "patience": patience}
    return _made("stop_early", reason, [facts.change(_STOPPING, stopping)], epochsAfterBest=summary.epochs_after_best)


def _more_weight_decay(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Against overfitting that early stopping has only cut short, where the gap is wide."""
    wanted, decay = _wanted_decay(facts), facts.number(_DECAY)
    if not _overfits_on(facts, summary) or summary is None or wanted <= decay or not _shrinks(facts, summary, wanted):
        return None
    reason = (
        f"valLoss is {summary.generalization_gap:.3g} above trainLoss at the best epoch, and rose from there while trainLoss "
        f"fell: weight decay {wanted:g} instead of {decay:g}. More data help more."
    )
    return _made("more_weight_decay", reason, [facts.change(_DECAY, wanted)], weightDecay=decay)


def _more_data(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where weight decay can do no more against the same."""
    wanted = _wanted_decay(facts)
    if not _overfits_on(facts, summary) or summary is None:
        return None
    if wanted > facts.number(_DECAY) and _shrinks(facts, summary, wanted):
        return None
    reason = (
        f"valLoss is {summary.generalization_gap:.3g} above trainLoss at the best epoch (step {summary.best_step}), and rose "
        "from there while trainLoss fell. No setting helps much: more data, a smaller model, or dropout in it."
    )
    return _made("more_data", reason, [], generalizationGap=summary.generalization_gap)


def _overfits_on(facts: Facts, summary: Summary | None) -> bool:
    """Whether it overfits although early stopping was asked for, with a gap."""
    overfits = summary is not None and summary.verdict == "overfitting" and facts.setting(_STOPPING) is not None
    return overfits and summary is not None and (summary.generalization_gap or 0.0) > 0


def _wanted_decay(facts: Facts) -> float:
    """Ten times the weight decay, at most 1; 0 of an optimizer that has none."""
    optimizer = find_optimizer(str(facts.setting("/trainingConfig/optimizer", "")))
    decay = facts.number(_DECAY)
    if optimizer is None or not optimizer.takes_weight_decay:
        return 0.0
    return _rounded(min(1.0, 10 * decay)) if decay > 0 else 0.01


def _shrinks(facts: Facts, summary: Summary, decay: float) -> bool:
    """Whether ``decay`` can change the weights of the best epoch at all: each step takes rate x decay of them, at most."""
    return decay * facts.number(_RATE) * (summary.best_step or 0) >= _SHRINKS


def _train_longer(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where the loss was still falling at the end of a run that took all its epochs."""
    if summary is None or summary.verdict != "improving" or facts.state != "succeeded" or not facts.latest_path:
        return None
    epochs, steps = int(facts.number(_EPOCHS)), int(facts.number(_STEPS))
    if not epochs or 2 * epochs > 1_000_000:
        return None
    patch = [facts.change(_EPOCHS, 2 * epochs), facts.change(_RESUME, facts.latest_path)]
    patch += [facts.change(_STEPS, 2 * steps)] if steps else []
    first, last = facts.losses[0][1], facts.losses[-1][1]
    reason = (
        f"{summary.monitor} was still falling when the run ended ({first:.4g} after the first epoch, {last:.4g} after the "
        f"last): go on from its newest checkpoint to {2 * epochs} epochs. The schedule then runs over the new total."
    )
    return _made("train_longer", reason, patch, epochs=epochs)


def _lower_rate_over_time(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where a constant rate has led to a plateau, or a schedule ran out before the run did."""
    schedule = find_schedule(str(facts.setting(_SCHEDULE, "")))
    if summary is None or schedule is None:
        return None
    exhausted = "learning_rate_exhausted" in facts.alerts and schedule.name != "cosine"
    if not exhausted and not (summary.verdict == "plateau" and schedule.name == "constant"):
        return None
    reason = (
        f"{schedule.name} had lowered the learning rate to almost nothing long before the last step"
        if exhausted
        else "trainLoss stopped falling at a learning rate that stayed as it was"
    )
    patch = [facts.change(_SCHEDULE, "cosine"), facts.change(_SCHEDULE_ARGUMENTS, {})]
    return _made("lower_rate_over_time", f"{reason}: cosine lowers it over all of the steps.", patch)


def _weigh_classes(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where the accuracy is that of the frequent classes, and the rare ones are given up."""
    row = next((row for row in facts.rows if summary is not None and row.epoch == summary.best_epoch), None)
    counts = list(facts.class_counts.values())
    arguments = facts.setting(_LOSS_ARGUMENTS) or {}
    if row is None or row.val_accuracy is None or len(counts) < 2 or min(counts) == 0 or "weight" in arguments:
        return None
    balanced = row.metrics.get("valBalancedAccuracy", row.val_accuracy)
    if facts.setting("/trainingConfig/loss") != "cross_entropy" or row.val_accuracy - balanced < _GIVEN_UP:
        return None
    weights = [_rounded(sum(counts) / (len(counts) * count)) for count in counts]
    reason = (
        f"valAccuracy is {row.val_accuracy:.3g}, but valBalancedAccuracy, the mean over the classes, {balanced:.3g}: the classes "
        f"have {min(counts)} to {max(counts)} training samples. Weigh them by the inverse, and judge epochs by that mean."
    )
    patch = (
        [facts.change(f"{_LOSS_ARGUMENTS}/weight", weights)]
        if facts.setting(_LOSS_ARGUMENTS) is not None
        else [facts.change(_LOSS_ARGUMENTS, {"weight": weights})]
    )
    patch += [
        facts.change("/checkpointConfig/monitor", "valBalancedAccuracy"),
        facts.change("/checkpointConfig/mode", "max"),
    ]
    return _made("weigh_classes", reason, patch, valAccuracy=row.val_accuracy, valBalancedAccuracy=balanced)


def _more_workers(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where the loop waited for its data."""
    if summary is None or summary.time.bound != "data" or summary.time.data < _WORTHWHILE:
        return None
    workers = int(facts.number(_WORKERS))
    starved = summary.time.data > 3 * summary.time.compute
    wanted = min(_MOST_WORKERS, max(2, (4 if starved else 2) * workers))
    if wanted <= workers:
        return None
    reason = (
        f"The loop waited {summary.time.data:.3g} s for its batches and computed {summary.time.compute:.3g} s, with {workers} "
        "loader processes. More of them help where the machine has cores to spare."
    )
    return _made("more_workers", reason, [facts.change(_WORKERS, wanted)], numWorkers=workers)


def _save_less_often(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where checkpoints in mid-epoch take the time."""
    steps = int(facts.number(_SAVE_STEPS))
    if summary is None or summary.time.bound != "checkpoints" or not steps or facts.spent.in_epochs < _WORTHWHILE:
        return None
    reason = f"Training stood still for {summary.time.checkpoints:.3g} s to save; every {10 * steps} steps are enough."
    return _made("save_less_often", reason, [facts.change(_SAVE_STEPS, 10 * steps)], saveEverySteps=steps)


def _fuller_device(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where a device has room for twice the samples: fewer micro-batches, or a larger batch."""
    batch, accumulation = int(facts.number(_BATCH)), int(facts.number(_ACCUMULATION, 1))
    has_room = 0 < facts.memory < _ROOM * facts.memory_limit
    if summary is None or facts.state == "failed" or summary.time.bound != "compute" or not has_room or not batch:
        return None
    used = f"{facts.memory / facts.memory_limit:.0%} of the device's memory was in use"
    larger = facts.change(_BATCH, 2 * batch)
    if accumulation > 1:
        if accumulation % 2:
            return None
        patch = [larger, facts.change(_ACCUMULATION, accumulation // 2)]
        reason = f"{used}: the same optimizer batch in half as many passes gives the same result sooner."
        return _made("fewer_micro_batches", reason, patch, memoryBytes=facts.memory)
    if summary.time.compute < 60 or 2 * batch > 1_000_000:
        return None
    optimizer = str(facts.setting("/trainingConfig/optimizer", ""))
    # Adam's steps are normalised by the gradient's spread, which a batch twice as large makes smaller by the square root of 2
    # (Malladi et al., On the SDEs and Scaling Rules for Adaptive Gradient Algorithms, 2022); SGD: Goyal et al., 2017.
    factor = 2.0 if optimizer == "SGD" else math.sqrt(2)
    patch = [larger, facts.change(_RATE, _rounded(facts.number(_RATE) * factor)), *_peak(facts, factor)]
    reason = f"{used}: a batch of {2 * batch} keeps it busier. The learning rate goes with it; the result will differ a little."
    return _made("larger_batch", reason, patch, memoryBytes=facts.memory)


def _overfit_one_batch(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where nothing was learnt, and no rate explains it: is it the model, or the data?"""
    if summary is None or summary.verdict != "not_learning" or facts.setting(_BATCHES_BY_HEART) is not None:
        return None
    patch = [facts.change(_BATCHES_BY_HEART, 1), facts.change(_EPOCHS, max(_BY_HEART, int(facts.number(_EPOCHS))))]
    taken_out = [path for path in (_STOPPING, _RESUME, _STEPS) if facts.setting(path) is not None]
    patch += [PatchOperation(op="remove", path=path) for path in taken_out]
    reason = (
        "On the held-out samples the model is hardly better than guessing. Let it learn one batch by heart: where trainLoss goes "
        "to almost nothing, model and loss are sound, and the features say too little of the target or the targets are mixed "
        "up; where it does not, look at the model, the loss and the learning rate."
    )
    return _made("overfit_one_batch", reason, patch)


def _test_on_held_out_data(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where nothing more is to be had from this run."""
    settled = facts.state in ("succeeded", "early_stopped")
    if summary is None or summary.verdict != "converged" or summary.best_val_loss is None or not settled:
        return None
    reason = (
        f"The run has converged (best epoch {summary.best_epoch} of {len(facts.rows)}). Its validation figures chose the epoch, "
        "so measure the checkpoint once on data that neither training nor validation has seen."
    )
    return _made("test_on_held_out_data", reason, [])


# What makes the next result better; the same result at less cost; and what there is to do where nothing makes it better.
_BETTER: tuple[Rule, ...] = (
    _lower_learning_rate,
    _raise_learning_rate,
    _use_found_learning_rate,
    _stop_early,
    _more_weight_decay,
    _more_data,
    _train_longer,
    _lower_rate_over_time,
    _weigh_classes,
)
_CHEAPER: tuple[Rule, ...] = (_use_found_micro_batch, _more_workers, _save_less_often, _fuller_device)
_OTHERWISE: tuple[Rule, ...] = (_overfit_one_batch, _test_on_held_out_data)


def _made(code: RecommendationCode, reason: str, patch: list[PatchOperation], **evidence: Any) -> Recommendation:
    return Recommendation(code=code, reason=reason, patch=patch, evidence=evidence)


def _peak(facts: Facts, factor: float) -> list[PatchOperation]:
    """The schedule's own highest rate, where it has one (OneCycleLR), goes the same way as the learning rate."""
    pointer = f"{_SCHEDULE_ARGUMENTS}/max_lr"
    peak = facts.number(pointer)
    return [facts.change(pointer, _rounded(peak * factor))] if peak > 0 else []


def _lowest_epoch(facts: Facts) -> int:
    return min(facts.losses, key=lambda each: each[1])[0].epoch


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
