"""What a longer run makes of an epoch that was cut, and of steps that were counted another way."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from schemas.result import EpochRow
from trainer_core.epochs.best import Best
from trainer_core.epochs.curve import Curve
from trainer_core.epochs.watched import WatchedFigure
from trainer_core.loop.averaging import Averaging
from trainer_core.loop.batches import Order
from trainer_core.loop.continuation import Continuation, QuickTry
from trainer_core.loop.cut_epoch import CutEpoch
from trainer_core.loop.metrics.metrics import build_figures
from trainer_core.loop.position import Length, Position
from trainer_core.loop.ranks import Ranks

ORDER = Order(samples=30, batch_size=10, seed=0, shuffle=True)
LENGTH = Length(epochs=4, steps_per_epoch=3)
UNAVERAGED = Averaging(nn.Linear(1, 1))


class Judged:
    """A run that was judged once before an epoch was cut, and once after it."""

    def __init__(self, best_path: str | None) -> None:
        self.curve = Curve()
        self.best = Best(WatchedFigure.choose("trainLoss", None, False, ""))
        self.cut = CutEpoch({"curve": self.curve, "best": self.best}, self.best, UNAVERAGED, Ranks())
        self._judge(1, 3.0)
        self.cut.note(best_path)
        self._judge(2, 1.0)

    def _judge(self, epoch: int, loss: float) -> None:
        row = EpochRow(epoch=epoch, train_loss=loss, seconds=1.0, step=3 * epoch)
        self.best.observe(row)
        self.curve.add(row)

    @property
    def known(self) -> tuple[list[int], int | None]:
        """Epochs of the curve, and the best one."""
        return [row.epoch for row in self.curve.rows], self.best.epoch


def test_it_is_known_no_more_and_the_best_is_the_one_before_it(tmp_path: Path):
    judged = Judged(best_path=str(tmp_path))
    assert judged.known == ([1, 2], 2)
    assert judged.cut.take_back("of the cut") == str(tmp_path)
    assert judged.known == ([1], 1)
    # Once: what a later checkpoint keeps is no cut.
    assert judged.cut.state() is None
    assert judged.cut.take_back("of now") == "of now"


def test_where_the_checkpoint_of_the_best_is_gone_none_is_the_best(tmp_path: Path):
    judged = Judged(best_path=str(tmp_path / "gone"))
    assert judged.cut.take_back("of the cut") is None
    assert judged.known == ([1], None)


def test_a_best_epoch_without_a_checkpoint_is_still_the_best():
    judged = Judged(best_path=None)
    assert judged.cut.take_back("of the cut") is None
    assert judged.known == ([1], 1)


def follow(position: Position, state: dict[str, Any]) -> Position:
    """Where a run of three steps to an epoch stands after ``state`` of another."""
    best = Best(WatchedFigure.choose("trainLoss", None, False, ""))
    cut = CutEpoch({}, best, UNAVERAGED, Ranks())
    assert Continuation(position, ORDER, LENGTH, cut, UNAVERAGED).follow(state, "best") == "best"
    return position


SAME = {"order": ORDER.state(), "length": LENGTH.state()}


@pytest.mark.parametrize(
    ("state", "step"),
    [
        # One step was skipped by a gradient scaler.
        (SAME, 4),
        (SAME | {"length": Length(epochs=9, steps_per_epoch=3).state()}, 4),
        (SAME | {"length": Length(epochs=4, steps_per_epoch=5).state()}, 5),
        (SAME | {"order": Order(samples=30, batch_size=10, seed=1, shuffle=True).state()}, 5),
    ],
    ids=["same", "longer", "other epochs", "other batches"],
)
def test_steps_are_counted_anew_where_the_batches_are_others(state, step):
    assert follow(Position(epoch=1, step=4, step_in_epoch=2), state).step == step
    assert follow(Position(epoch=1, step=9, step_in_epoch=5), SAME | {"order": None}).step == 6


def test_a_quick_try_counts_and_measures_from_nothing():
    best = Best(WatchedFigure.choose("trainLoss", None, False, ""))
    cut = CutEpoch({}, best, UNAVERAGED, Ranks())
    position, figures = Position(), build_figures("regression", torch.device("cpu"))
    quick = QuickTry(position, ORDER, LENGTH, cut, UNAVERAGED, counted={"position": position}, figures=figures)
    position.advance(stepped=True)
    figures.update(torch.ones(2), torch.ones(2), torch.tensor(4.0), torch.tensor(2.0))
    assert quick.follow(SAME, "best") is None
    assert position == Position()
    assert figures.compute("train") == build_figures("regression", torch.device("cpu")).compute("train")
