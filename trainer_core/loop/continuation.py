"""How a run goes on from a checkpoint of a run that was meant to be longer, shorter, or to begin."""

from collections.abc import Mapping
from typing import Any

from trainer_core.loop.averaging import Averaging
from trainer_core.loop.batches import Order
from trainer_core.loop.cut_epoch import CutEpoch
from trainer_core.loop.metrics.metrics import Figures
from trainer_core.loop.position import Length, Position
from trainer_core.loop.run_state import Restores


class Continuation:
    """Takes up what a checkpoint's run had come to. Steps are counted as this run would have counted them, and an epoch that
    was cut is not judged before it is whole. ``averaged`` says what of the average is not that of a run of this length."""

    def __init__(self, position: Position, order: Order, length: Length, cut: CutEpoch, averaging: Averaging) -> None:
        self._position = position
        self._order = order
        self._length = length
        self._averaging = averaging
        self.cut = cut
        self.averaged = ""

    def follow(self, state: dict[str, Any], best_path: str | None) -> str | None:
        """Fit what was just restored from a checkpoint's ``state`` to this run; its best checkpoint, ``best_path`` unless it is
        no more. All ranks take part."""
        position, steps = self._position, self._length.steps_per_epoch
        if state["order"] != self._order.state() or state["length"]["steps_per_epoch"] != steps:
            position.step = position.epoch * steps + min(position.step_in_epoch, steps)
        if self._length.reached(position):
            return best_path
        best_path = self.cut.take_back(best_path)
        self.averaged = self._averaging.take_up(position.ended(steps))
        return best_path


class QuickTry(Continuation):
    """``fastDevRun``: weights, optimizer and whatever else is kept are taken up, and its one epoch is the first."""

    def __init__(
        self,
        position: Position,
        order: Order,
        length: Length,
        cut: CutEpoch,
        averaging: Averaging,
        *,
        counted: Mapping[str, Restores],
        figures: Figures,
    ) -> None:
        super().__init__(position, order, length, cut, averaging)
        self._counted = counted
        self._figures = figures
        self._nothing = {name: part.state() for name, part in counted.items()}

    def follow(self, state: dict[str, Any], best_path: str | None) -> str | None:
        for name, part in self._counted.items():
            part.restore(self._nothing[name])
        self._figures.reset()
        return None
