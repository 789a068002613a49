"""The summary of a run: best epoch, what came after it, where the time went, and what the curve says."""

from statistics import median
from typing import Literal

from app.review.facts import Facts
from schemas.result import EpochRow
from schemas.summary import Bound, Summary, TimeBudget

Verdict = Literal["converged", "improving", "overfitting", "plateau", "not_learning", "diverged", "unclear"]

# A part of the time that is worth naming.
_WORTH_NAMING = 0.3
# Epochs that a curve needs before it says something.
_SHORTEST = 4
# Of the epochs, the last ones that tell whether a run still improves; and by how much of the loss they must have.
_LAST, _IMPROVED = 0.2, 0.02
# By how much of the lowest the loss has to have risen, and training loss to have fallen since.
_RISEN, _FALLEN = 0.05, 0.02
# A rise of less than this share of the first loss is the noise of a curve that has come near to 0.
_RISEN_OF_FIRST = 0.02
# Figures of validation at which a model is hardly better than guessing.
_GUESSING = {"valMcc": 0.1, "valR2": 0.05}
# The second half of a plateau improves by less; its rate is still this share of the highest.
_FLAT, _RATE = 0.005, 0.5


def summarize(facts: Facts) -> Summary | None:
    """What the run came to; None before its first epoch."""
    if not facts.rows:
        return None
    lowest = _lowest(facts)
    best = next((row for row in facts.rows if row.epoch == facts.best_epoch), None) or (lowest or facts.rows[-1])
    after = [row for row in facts.rows if row.epoch > best.epoch]
    seconds, wasted = (sum(row.seconds or 0.0 for row in rows) for rows in (facts.rows, after))
    speeds = [row.samples_per_second for row in facts.rows if row.samples_per_second is not None]
    validation = [row.val_loss for row in facts.rows if row.val_loss is not None]
    both = best.val_loss is not None and best.train_loss is not None
    return Summary(
        verdict=judge(facts),
        monitor=facts.monitor,
        best_epoch=best.epoch,
        best_step=best.step,
        total_steps=facts.rows[-1].step,
        final_train_loss=facts.rows[-1].train_loss,
        best_val_loss=min(validation, default=None),
        generalization_gap=(best.val_loss or 0.0) - (best.train_loss or 0.0) if both else None,
        epochs_after_best=len(after),
        seconds_after_best=wasted,
        share_after_best=min(1.0, wasted / seconds) if seconds > 0 else 0.0,
        samples_per_second=median(speeds) if speeds else None,
        time=budget(facts),
    )


def budget(facts: Facts) -> TimeBudget:
    """Where the time went."""
    seconds, data, evaluation = (
        sum(getattr(row, name) or 0.0 for row in facts.rows)
        for name in ("seconds", "data_wait_seconds", "evaluation_seconds")
    )
    spent = facts.spent
    compute = max(0.0, seconds - data - evaluation - spent.in_epochs)
    parts: dict[Bound, float] = {
        "data": data,
        "evaluation": evaluation,
        "checkpoints": spent.checkpoints,
        "startUp": spent.start_up,
    }
    largest = max(parts, key=lambda name: parts[name])
    whole = compute + sum(parts.values())
    return TimeBudget(
        start_up=spent.start_up,
        data=data,
        compute=compute,
        evaluation=evaluation,
        checkpoints=spent.checkpoints,
        bound=largest if whole > 0 and parts[largest] >= _WORTH_NAMING * whole else "compute",
    )


def judge(facts: Facts) -> Verdict:
    """What the learning curve says."""
    if facts.error is not None and facts.error.code == "diverged":
        return "diverged"
    losses = [value for _, value in facts.losses]
    if len(losses) < _SHORTEST:
        return "unclear"
    if _overfits(facts):
        return "overfitting"
    if _improves(losses):
        return "improving"
    if _guesses(facts):
        return "not_learning"
    return "plateau" if _is_flat(facts) else "converged"


def _lowest(facts: Facts) -> EpochRow | None:
    losses = facts.losses
    return min(losses, key=lambda each: each[1])[0] if losses else None


def _overfits(facts: Facts) -> bool:
    """Validation loss has risen from its lowest, and training loss has fallen since; the end is the median of three."""
    lowest = _lowest(facts)
    if lowest is None or lowest.val_loss is None or lowest.train_loss is None:
        return False
    since = [row for row in facts.rows if row.epoch > lowest.epoch]
    validation = [row.val_loss for row in since if row.val_loss is not None][-3:]
    train = [row.train_loss for row in since if row.train_loss is not None][-3:]
    if len(validation) < 3 or len(train) < 3:
        return False
    first = next(row.val_loss for row in facts.rows if row.val_loss is not None)
    least = max(_RISEN * abs(lowest.val_loss), _RISEN_OF_FIRST * abs(first))
    return median(validation) - lowest.val_loss > least and lowest.train_loss - median(train) > _FALLEN * abs(
        lowest.train_loss
    )


def _guesses(facts: Facts) -> bool:
    """Whether at the lowest loss the held-out samples were hardly better told than by guessing; where nobody knows, whether
    nothing ever moved."""
    lowest = _lowest(facts)
    known = [
        (value, least)
        for name, least in _GUESSING.items()
        if lowest and (value := lowest.metrics.get(name)) is not None
    ]
    return any(value < least for value, least in known) if known else "dead_start" in facts.alerts


def _improves(losses: list[float]) -> bool:
    """The lowest loss of the last fifth is well below the lowest before."""
    last = max(2, round(_LAST * len(losses)))
    before, after = min(losses[:-last]), min(losses[-last:])
    return before - after > _IMPROVED * abs(before)


def _is_flat(facts: Facts) -> bool:
    """Training loss hardly moved in the second half, at a rate that did not fall, and is still above a fiftieth of the first."""
    losses = [row.train_loss for row in facts.rows if row.train_loss is not None]
    rates = [row.learning_rate for row in facts.rows if row.learning_rate is not None]
    if len(losses) < 2 * _SHORTEST or (rates and rates[-1] < _RATE * max(rates)):
        return False
    quarter = len(losses) // 4
    before, after = (sum(part) / quarter for part in (losses[-2 * quarter : -quarter], losses[-quarter:]))
    return before - after <= _FLAT * abs(before) and abs(after) > 0.02 * abs(losses[0])
