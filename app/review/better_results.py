"""Rules of what makes the next result better than this one."""

from app.review.advice import Rule, made, peak, rounded
from app.review.facts import Facts
from schemas.optimizers import find_optimizer
from schemas.problems import PatchOperation
from schemas.schedules import find_schedule
from schemas.summary import Recommendation, Summary

_FEATURES = "/dataConfig/features"
_RATE = "/trainingConfig/learningRate"
_RATE_FINDER = "/trainingConfig/learningRateFinder"
_EPOCHS = "/trainingConfig/epochs"
_STOPPING = "/trainingConfig/earlyStopping"
_DECAY = "/trainingConfig/weightDecay"
_SCHEDULE = "/trainingConfig/scheduler"
_SCHEDULE_ARGUMENTS = "/trainingConfig/schedulerArgs"
_LOSS_ARGUMENTS = "/trainingConfig/lossArgs"
_STEPS = "/trainingConfig/maxSteps"
_RESUME = "/checkpointConfig/resumeFrom"
# A rate that is nearer than by this factor makes no difference worth another request.
_WORTH_A_RATE = 1.5
# A rate is not worth a try above so many times the optimizer's usual one.
_FAR = 100
# By what share weight decay must be able to shrink the weights up to the best epoch.
_SHRINKS = 0.05
# How far the mean of the classes' recalls lies below the accuracy where rare classes are given up.
_GIVEN_UP = 0.1


def _leave_out_identifiers(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where columns of the table name its rows: figures of validation say nothing then."""
    named, others = facts.features.identifiers, facts.features.others
    if not named:
        return None
    listed = ", ".join(named[:20])
    reason = (
        f"{listed}: another value in each training row, as identifiers have. The figures of validation are no measure of new "
        "rows, which have others: train on the other columns."
    )
    patch = [facts.change(_FEATURES, list(others))]
    return made("leave_out_identifiers", reason, patch, columns=list(named))


def _lower_learning_rate(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """After divergence; not where the data themselves held what was not finite, and the error names no fix."""
    rate, error = facts.number(_RATE), facts.error
    if error is None or error.code != "diverged" or error.fix is None or rate <= 0:
        return None
    optimizer = find_optimizer(str(facts.setting("/trainingConfig/optimizer", "")))
    wanted = rate / 10 if optimizer is None else min(rate / 10, _FAR * optimizer.learning_rate)
    reason = f"The run diverged at learning rate {rate:.3g}: {rounded(wanted):g}"
    reason += ", a tenth of it." if wanted == rate / 10 else f", which is still {_FAR} times what is usual."
    patch = [facts.change(_RATE, rounded(wanted)), *peak(facts, wanted / rate)]
    return made("lower_learning_rate", reason, patch, learningRate=rate)


def _raise_learning_rate(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """When nothing was learnt at a rate far below the optimizer's usual one."""
    optimizer = find_optimizer(str(facts.setting("/trainingConfig/optimizer", "")))
    rate = facts.number(_RATE)
    if "dead_start" not in facts.alerts or optimizer is None or not 0 < rate < optimizer.learning_rate / 10:
        return None
    usual = optimizer.learning_rate
    reason = f"The loss did not move at learning rate {rate:.3g}; {optimizer.name} usually takes {usual:g}."
    return made(
        "raise_learning_rate", reason, [facts.change(_RATE, usual), *peak(facts, usual / rate)], learningRate=rate
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
    patch = [facts.change(_RATE, entry.found), *peak(facts, factor)]
    patch += [PatchOperation(op="remove", path=_RATE_FINDER)] if searches else []
    return made("use_found_learning_rate", reason, patch, learningRate=rate, found=entry.found)


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
    return made("stop_early", reason, [facts.change(_STOPPING, stopping)], epochsAfterBest=summary.epochs_after_best)


def _more_weight_decay(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Against overfitting that early stopping has only cut short, where the gap is wide."""
    wanted, decay = _wanted_decay(facts), facts.number(_DECAY)
    if not _overfits_on(facts, summary) or summary is None or wanted <= decay or not _shrinks(facts, summary, wanted):
        return None
    reason = (
        f"valLoss is {summary.generalization_gap:.3g} above trainLoss at the best epoch, and rose from there while trainLoss "
        f"fell: weight decay {wanted:g} instead of {decay:g}. More data help more."
    )
    return made("more_weight_decay", reason, [facts.change(_DECAY, wanted)], weightDecay=decay)


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
    return made("more_data", reason, [], generalizationGap=summary.generalization_gap)


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
    return rounded(min(1.0, 10 * decay)) if decay > 0 else 0.01


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
    return made("train_longer", reason, patch, epochs=epochs)


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
    return made("lower_rate_over_time", f"{reason}: cosine lowers it over all of the steps.", patch)


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
    weights = [rounded(sum(counts) / (len(counts) * count)) for count in counts]
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
    return made("weigh_classes", reason, patch, valAccuracy=row.val_accuracy, valBalancedAccuracy=balanced)


def _lowest_epoch(facts: Facts) -> int:
    return min(facts.losses, key=lambda each: each[1])[0].epoch


# What helps whatever is learnt, be it one batch by heart.
SOUND: tuple[Rule, ...] = (_lower_learning_rate, _raise_learning_rate, _use_found_learning_rate)
BETTER: tuple[Rule, ...] = (
    _leave_out_identifiers,
    *SOUND,
    _stop_early,
    _more_weight_decay,
    _more_data,
    _train_longer,
    _lower_rate_over_time,
    _weigh_classes,
)
