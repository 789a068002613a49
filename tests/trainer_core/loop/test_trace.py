"""No step's figures are lost between two reports, however many there are."""

import math

import numpy as np
import pytest
import torch

from trainer_core.loop.ranks import Totals
from trainer_core.loop.trace import Trace


@pytest.mark.parametrize("steps", [0, 1, 255, 256, 257, 700])
def test_every_step_is_read_once_and_in_order(steps: int):
    trace = Trace()
    for step in range(1, steps + 1):
        trace.add(step, Totals(torch.tensor(step * 8.0), torch.tensor(8)), torch.tensor(step / 4))
    read = trace.read().readings()
    expected = np.arange(1, steps + 1)
    for column, values in ((read.steps, expected), (read.losses, expected), (read.norms, expected / 4)):
        assert column.tolist() == values.tolist()
    assert len(trace.read().readings().steps) == 0


def test_what_is_not_finite_and_what_no_target_counted_in_is_not_there():
    trace = Trace()
    trace.add(1, Totals(torch.tensor(float("nan")), torch.tensor(4.0)), torch.tensor(float("inf")))
    trace.add(2, Totals(torch.tensor(0.0), torch.tensor(0.0)), torch.tensor(0.0))
    read = trace.read().readings()
    assert [math.isnan(each) for each in (*read.losses, *read.norms)] == [True, True, True, False]


def test_what_was_undone_is_forgotten():
    trace = Trace()
    trace.add(1, Totals(torch.tensor(1.0), torch.tensor(1.0)), torch.tensor(1.0))
    trace.clear()
    assert len(trace.read().numbers) == 0
