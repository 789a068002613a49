"""Gradients of sums become gradients of means, whatever the targets weigh."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainer_core.loop.flat_gradients import FlatGradients
from trainer_core.loop.gradients import Gradients

SAMPLES = 4


@pytest.mark.parametrize("kind", [Gradients, FlatGradients])
@pytest.mark.parametrize(
    "weights", [[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 2.0, 0.0], [0.1, 0.2, 0.1, 0.0], [0.0] * 4], ids=str
)
def test_they_are_those_of_the_mean_over_what_counts(
    weights: list[float], kind: Callable[[list[Tensor]], Gradients]
) -> None:
    """Also where all targets together weigh less than one; where none counts they are 0, whatever a pass has left."""
    x, weight = torch.tensor([1.0, -2.0, 7.0, 5.0]), torch.tensor(weights)
    parameter = torch.ones(1, requires_grad=True)
    gradients = kind([parameter])
    gradients.clear()
    (parameter * (x * weight + (weight.sum() == 0))).sum().div(SAMPLES).backward()
    gradients.make_mean(SAMPLES, weight.sum())
    assert parameter.grad is not None
    expected = (x * weight).sum() / weight.sum() if weight.any() else torch.zeros(())
    assert parameter.grad.item() == pytest.approx(expected.item(), rel=1e-6)
