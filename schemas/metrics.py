"""Names of the figures of an epoch, and which way is better."""

from typing import Literal

MONITOR_PATTERN = r"^(train|val)[A-Z][A-Za-z0-9]*$"

LOWER_IS_BETTER = ("Loss", "Rmse", "Mae", "Mse")


def better_direction(monitor: str) -> Literal["min", "max"]:
    """``min`` for losses and errors, ``max`` for scores: ``valLoss`` -> ``min``, ``valAccuracy`` -> ``max``."""
    return "min" if monitor.endswith(LOWER_IS_BETTER) else "max"
