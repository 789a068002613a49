"""The figure of an epoch that a decision watches: its name, which way is better, and whether it was measured."""

import math
from dataclasses import dataclass, field
from typing import Literal

from schemas.metrics import better_direction, metric_of
from schemas.result import EpochRow
from trainer_core.arguments import invalid

Mode = Literal["min", "max"]


def figure_names(row: EpochRow) -> list[str]:
    """Names of all figures that ``row`` holds."""
    names = [*row.to_json(), *row.metrics]
    return sorted(name for name in names if row.figure(name) is not None)


@dataclass
class WatchedFigure:
    """One figure by ``name``; ``pointer`` is where the request named it."""

    name: str
    mode: Mode
    pointer: str
    seen: bool = field(default=False, compare=False)

    @classmethod
    def choose(cls, name: str | None, mode: Mode | None, has_validation: bool, pointer: str) -> "WatchedFigure":
        """The figure asked for; absent: ``valLoss``, or ``trainLoss`` without validation. Raises Failure
        ``input_invalid`` when it is a figure of validation and nothing is validated."""
        chosen = name or ("valLoss" if has_validation else "trainLoss")
        if chosen.startswith("val") and not has_validation:
            raise invalid(pointer, f"{chosen} cannot be watched: this run has no validation samples.")
        return cls(chosen, mode or better_direction(chosen), pointer)

    def read(self, row: EpochRow) -> float | None:
        """The figure in ``row``; None when it is missing or not finite.

        Raises Failure ``input_invalid`` when it was never there although its split was measured: nobody computes
        a figure of that name. (A loss that is missing was not finite, a metric not defined, as an area is for targets of
        one class; they are never taken for unknown.)
        """
        value = row.figure(self.name)
        if value is not None and math.isfinite(value):
            self.seen = True
            return value
        split_loss = "valLoss" if self.name.startswith("val") else "trainLoss"
        if not self.seen and not self._is_known(split_loss) and row.figure(split_loss) is not None:
            figures = ", ".join(figure_names(row))
            raise invalid(
                self.pointer, f"There is no figure {self.name!r} after epoch {row.epoch}; there are: {figures}."
            )
        return None

    def _is_known(self, split_loss: str) -> bool:
        return self.name == split_loss or (self.name.startswith("val") and metric_of(self.name) is not None)

    def improves(self, value: float, best: float | None, min_delta: float = 0.0) -> bool:
        """Whether ``value`` is better than ``best`` by more than ``min_delta``; anything is better than None."""
        if best is None:
            return True
        return value < best - min_delta if self.mode == "min" else value > best + min_delta
