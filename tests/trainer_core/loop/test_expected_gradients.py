"""A pass that leaves out a parameter is noticed, also where an earlier pass of the same step gave it a gradient."""

import pickle

import pytest
import torch
from torch import Tensor, nn

from trainer_core.loop.ranks import expecting_gradients
from trainer_core.loop.recovery.restart import UnusedParameters


class Branching(nn.Module):
    """One that may leave out its second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.seldom, self.frozen = nn.Linear(2, 1), nn.Linear(2, 1), nn.Linear(2, 1).requires_grad_(False)

    def forward(self, x: Tensor, whole: bool) -> Tensor:
        """The sum of one layer, or of two."""
        return (self.always(x) + self.seldom(x) if whole else self.always(x)).sum()


def take(model: nn.Module, whole: bool) -> None:
    with expecting_gradients(model):
        model(torch.ones(3, 2), whole).backward()


def test_passes_that_use_everything_are_well():
    model = Branching()
    for _ in range(3):
        take(model, whole=True)


@pytest.mark.parametrize("passes_before", [0, 2])
def test_a_parameter_that_is_left_out_is_named(passes_before: int):
    model = Branching()
    for _ in range(passes_before):
        take(model, whole=True)
    with pytest.raises(UnusedParameters, match=r"no gradient to seldom\.weight, seldom\.bias") as caught:
        take(model, whole=False)
    # It comes from another process.
    assert pickle.loads(pickle.dumps(caught.value)).names == ["seldom.weight", "seldom.bias"]


def test_of_thousands_a_few_are_named():
    """What a rank says when it ends goes through a pipe, which holds 65,536 bytes."""
    unused = UnusedParameters([f"blocks.{number}.attention.output.weight" for number in range(5000)])
    assert len(pickle.dumps(unused)) < 1000
    again = pickle.loads(pickle.dumps(unused))
    assert again.names == [f"blocks.{number}.attention.output.weight" for number in range(3)]
    assert str(again) == str(unused)
    assert "blocks.2.attention.output.weight and 4997 more," in str(again)
