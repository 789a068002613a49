"""What ``metrics(outputs, targets)`` of a model file returns, as figures of an epoch."""

import re
from typing import Literal

from trainer_core.failure import Failure


def read_own_figures(found: object, prefix: Literal["train", "val"]) -> dict[str, float]:
    """``found``, a dict of names to numbers, under ``prefix``: ``f1_macro`` becomes ``valF1Macro``.

    Raises Failure ``model_invalid`` for anything else. A tensor of one element is a number.
    """
    if not isinstance(found, dict):
        raise _unreadable(f"a {type(found).__name__}")
    return {prefix + _capitalized(name): _number(name, value) for name, value in found.items()}


def _unreadable(what: str) -> Failure:
    return Failure(
        "model_invalid",
        f"metrics() of the model file returned {what}.",
        next_move="Return a dict of names to numbers from metrics(outputs, targets).",
    )


def _number(name: object, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise _unreadable(f"a {type(value).__name__} for {name!r}") from error


def _capitalized(name: object) -> str:
    words = [word for word in re.split(r"[^A-Za-z0-9]+", str(name)) if word]
    if not words or not words[0][0].isalpha():
        raise _unreadable(f"the name {name!r}, which does not begin with a letter")
    return "".join(word[0].upper() + word[1:] for word in words)
