"""An epoch that ``maxSteps`` cut: it was judged and averaged as it was, and is so anew when a longer run has trained the rest
of it."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer_core.epochs.best import Best
from trainer_core.loop.averaging import Averaging
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.run_state import Restores


class CutEpoch:
    """How a run was judged before an epoch that was cut: the state of its ``judges`` (curve, best, patience, schedule), and
    its best checkpoint. Nothing while no epoch was cut. The ``averaging`` knows for itself what it was before."""

    def __init__(self, judges: Mapping[str, Restores], best: Best, averaging: Averaging, ranks: Ranks) -> None:
        self._judges = judges
        self._best = best
        self._averaging = averaging
        self._ranks = ranks
        self._before: dict[str, Any] | None = None

    def note(self, best_path: str | None) -> None:
        """The epoch that comes to be judged was cut."""
        judged = {name: copy.deepcopy(judge.state()) for name, judge in self._judges.items()}
        self._before = {"bestPath": best_path, "judges": judged}

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint keeps."""
        return self._before

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from ``state``."""
        self._before = state

    def take_back(self, best_path: str | None) -> str | None:
        """What is left of the epoch will be trained: judges and average know it no more. All ranks ask together.

        Returns the best checkpoint before it; where that was removed since, no epoch is the best. Where no epoch was cut,
        ``best_path``.
        """
        self._averaging.take_back_cut()
        if self._before is None:
            return best_path
        for name, judge in self._judges.items():
            judge.restore(self._before["judges"][name])
        before: str | None = self._before["bestPath"]
        self._before = None
        if before is None or self._ranks.from_first(lambda: Path(before).exists()):
            return before
        self._best.forget()
        return None
