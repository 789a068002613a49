"""Where a run is, and how long it is."""

import pytest

from trainer_core.loop.position import Length, Position


def test_counting():
    position = Position()
    assert position.number == 1
    position.advance(stepped=True)
    position.advance(stepped=False)
    assert (position.step, position.step_in_epoch, position.number) == (1, 2, 1), (
        "a skipped step is none for the schedule"
    )
    position.finish_epoch()
    assert (position.epoch, position.step_in_epoch, position.number) == (1, 0, 1)
    position.advance(stepped=True)
    assert position.number == 2
    restored = Position()
    restored.restore(position.state())
    assert restored == position


def test_the_last_batch_may_be_short():
    assert Length.of(70, 32, epochs=3, max_steps=None).steps_per_epoch == 3
    assert Length.of(64, 32, epochs=3, max_steps=None).steps_per_epoch == 2
    assert Length.of(5, 32, epochs=3, max_steps=None).total_steps == 3


@pytest.mark.parametrize(("max_steps", "steps"), [(None, [3, 3]), (4, [3, 1]), (3, [3, 0]), (2, [2, 0]), (100, [3, 3])])
def test_max_steps_cuts_epochs(max_steps, steps):
    length = Length(2, 3, max_steps)
    assert [length.steps_of_epoch(epoch) for epoch in range(2)] == steps
    assert length.total_steps == sum(steps)


def test_when_nothing_is_left():
    assert Length(2, 3).reached(Position(epoch=2, step=6))
    assert not Length(2, 3).reached(Position(epoch=1, step=5, step_in_epoch=2))
    assert Length(2, 3, max_steps=3).reached(Position(epoch=1, step=3))
    assert Length(2, 3).reached(Position(epoch=2, step=5)), "a step that the scaler skipped is not made up for"
