"""What to do after a run: few rules, each with its figures and the next request."""

from collections.abc import Sequence

from app.review.advice import Rule, made
from app.review.better_results import BETTER, SOUND
from app.review.by_heart import BATCHES, overfit_one_batch
from app.review.facts import Facts
from app.review.lower_cost import CHEAPER
from schemas.summary import Recommendation, Summary


def recommend(facts: Facts, summary: Summary | None) -> list[Recommendation]:
    """What to do next, the most useful first. A patch changes settings that this run's engine looks at, and nothing else;
    applied to ``resolved`` it is another request that the gate admits."""
    if facts.setting(BATCHES) is not None:
        # Learnt by heart: its validation samples are those it was trained on.
        return _follow(SOUND, facts, summary)
    better, cheaper = _follow(BETTER, facts, summary), _follow(CHEAPER, facts, summary)
    return [*better, *cheaper, *([] if better else _follow(_OTHERWISE, facts, summary))]


def _follow(rules: Sequence[Rule], facts: Facts, summary: Summary | None) -> list[Recommendation]:
    found = [rule(facts, summary) for rule in rules] if facts.resolved else []
    return [each for each in found if each is not None and all(facts.reads(move.path) for move in each.patch)]


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
_OTHERWISE: tuple[Rule, ...] = (overfit_one_batch, _test_on_held_out_data)
