"""No step's figures are lost between two reports, however many there are."""

import pytest
import torch

from trainer_core.loop.ranks import Totals
from trainer_core.loop.trace import Trace
from trainer_core.monitors.monitor import Reading


@pytest.mark.parametrize("steps", [0, 1, 255, 256, 257, 700])
def test_every_step_is_read_once_and_in_order(steps: int):
    trace = Trace()
    for step in range(1, steps + 1):
        trace.add(step, Totals(torch.tensor(step * 8.0), torch.tensor(8)), torch.tensor(step / 4))
    read = trace.read()
    assert read.readings() == [Reading(step, float(step), step / 4, 8.0) for step in range(1, steps + 1)]
    assert read.loss_sums.sum().item() == 4 * steps * (steps + 1)
    assert trace.read().readings() == []


def test_what_is_not_finite_and_what_no_target_counted_in_is_none():
    trace = Trace()
    trace.add(1, Totals(torch.tensor(float("nan")), torch.tensor(4.0)), torch.tensor(float("inf")))
    trace.add(2, Totals(torch.tensor(0.0), torch.tensor(0.0)), torch.tensor(0.0))
    assert trace.read().readings() == [Reading(1, None, None, 4.0), Reading(2, None, 0.0, 0.0)]


def test_what_was_undone_is_forgotten():
    trace = Trace()
    trace.add(1, Totals(torch.tensor(1.0), torch.tensor(1.0)), torch.tensor(1.0))
    trace.clear()
    assert trace.read().readings() == []
