"""What to do after a run: few rules, each with its figures and the next request."""

from collections.abc import Sequence

from app.review.advice import Rule, made
from app.review.better_results import BETTER
from app.review.facts import Facts
from app.review.lower_cost import CHEAPER
from schemas.problems import PatchOperation
from schemas.summary import Recommendation, Summary

_EPOCHS = "/trainingConfig/epochs"
_STOPPING = "/trainingConfig/earlyStopping"
_BATCHES_BY_HEART = "/trainingConfig/overfitBatches"
_STEPS = "/trainingConfig/maxSteps"
_RESUME = "/checkpointConfig/resumeFrom"
# Steps in which a sound model learns a batch by heart.
_BY_HEART = 100


def recommend(facts: Facts, summary: Summary | None) -> list[Recommendation]:
    """What to do next, the most useful first. A patch changes settings that this run's engine looks at, and nothing else;
    applied to ``resolved`` it is another request that the gate admits."""
    better, cheaper = _follow(BETTER, facts, summary), _follow(CHEAPER, facts, summary)
    return [*better, *cheaper, *([] if better else _follow(_OTHERWISE, facts, summary))]


def _follow(rules: Sequence[Rule], facts: Facts, summary: Summary | None) -> list[Recommendation]:
    found = [rule(facts, summary) for rule in rules] if facts.resolved else []
    return [each for each in found if each is not None and all(facts.reads(move.path) for move in each.patch)]


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
    return made("overfit_one_batch", reason, patch)


def _test_on_held_out_data(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where nothing more is to be had from this run."""
    settled = facts.state in ("succeeded", "early_stopped")
    if summary is None or summary.verdict != "converged" or summary.best_val_loss is None or not settled:
        return None
    reason = (
        f"The run has converged (best epoch {summary.best_epoch} of {len(facts.rows)}). Its validation figures chose the epoch, "
        "so measure the checkpoint once on data that neither training nor validation has seen."
    )
    return made("test_on_held_out_data", reason, [])


# Where nothing makes the result better.
_OTHERWISE: tuple[Rule, ...] = (_overfit_one_batch, _test_on_held_out_data)
