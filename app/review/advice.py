"""What advice is made of: a rule, what it says, and the changes that go together."""

from collections.abc import Callable
from typing import Any

from app.review.facts import Facts
from schemas.problems import PatchOperation
from schemas.summary import Recommendation, RecommendationCode, Summary

Rule = Callable[[Facts, Summary | None], Recommendation | None]


def made(code: RecommendationCode, reason: str, patch: list[PatchOperation], **evidence: Any) -> Recommendation:
    """A recommendation of a rule."""
    return Recommendation(code=code, reason=reason, patch=patch, evidence=evidence)


def peak(facts: Facts, factor: float) -> list[PatchOperation]:
    """The schedule's own highest rate, where it has one (OneCycleLR), goes the same way as the learning rate."""
    pointer = "/trainingConfig/schedulerArgs/max_lr"
    highest = facts.number(pointer)
    return [facts.change(pointer, rounded(highest * factor))] if highest > 0 else []


def rounded(value: float) -> float:
    """``value`` to three digits, as a person would write it."""
    return float(f"{value:.3g}")
