"""Activations that are computed again: the same numbers to the bit, and the same names."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from schemas.events import Alert
from trainer_core.failure import Failure
from trainer_core.loop.preparing.activation_checkpointing import alerts_of, recompute_activations


class Block(nn.Module):
    """A residual block with all that could differ the second time: dropout and running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.calls = 0

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        self.calls += 1
        return x + scale * self.inner(x)


class Stack(nn.Module):
    """Blocks in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, scale=0.5)
        return self.head(x)


def stack() -> Stack:
    torch.manual_seed(0)
    return Stack()


def trained(model: nn.Module, steps: int = 3) -> list[Tensor]:
    """Gradients of the last step, then parameters and buffers."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(5)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 4)).square().mean().backward()
        optimizer.step()
    tensors = [parameter.grad for parameter in model.parameters()]
    return [*tensors, *model.state_dict().values(), torch.get_rng_state()]


def test_gradients_weights_statistics_and_random_numbers_are_the_same_to_the_bit():
    plain, saving = stack(), stack()
    assert recompute_activations(saving, True) == ["blocks.0", "blocks.1", "blocks.2"]
    for left, right in zip(trained(plain), trained(saving), strict=True):
        assert torch.equal(left, right)
    assert [block.calls for block in plain.blocks] == [3, 3, 3]
    assert [block.calls for block in saving.blocks] == [6, 6, 6], "computed again"


def test_all_names_stay():
    plain, saving = stack(), stack()
    recompute_activations(saving, True)
    assert list(saving.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in saving.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert [type(module) for module in saving.modules()] == [type(module) for module in plain.modules()]


def test_nothing_is_kept_but_what_goes_into_a_block():
    kept: dict[bool, int] = {}
    for recomputed in (False, True):
        model = stack()
        recompute_activations(model, recomputed)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda item, sizes=sizes: (sizes.append(item.numel()), item)[1],
                                                      lambda item: item):  # fmt: skip
            model(torch.randn(64, 4))
        kept[recomputed] = sum(sizes)
    assert kept[True] < kept[False] / 2


def test_evaluation_computes_once():
    model = stack()
    recompute_activations(model, True)
    with torch.no_grad():
        model.eval()(torch.randn(4, 4))
    assert [block.calls for block in model.blocks] == [1, 1, 1]


def test_a_copy_computes_with_its_own_weights():
    model = stack()
    recompute_activations(model, True)
    other = copy.deepcopy(model)
    other(torch.randn(4, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in other.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_which_modules_are_blocks():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    transformer = nn.ModuleDict({"embed": nn.Linear(8, 8), "encoder": nn.TransformerEncoder(layer, 2)})
    assert recompute_activations(transformer, True) == ["encoder.layers.0", "encoder.layers.1"]
    nested = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Block(), Block()), nn.Sequential(nn.Linear(8, 8), nn.ReLU()))
    assert recompute_activations(nested, True) == ["1.0", "1.1", "2"]
    plain = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert recompute_activations(plain, True) == []
    assert alerts_of(True, [])[0].code == "nothing_to_recompute"


def test_modules_by_name_are_the_outermost_that_fit():
    model = stack()
    assert recompute_activations(model, ["blocks.[01]", "head"]) == ["blocks.0", "blocks.1", "head"]
    with pytest.raises(Failure, match="fits no module") as caught:
        recompute_activations(stack(), ["stem", "block.0"])
    assert caught.value.error.place.pointer == "/trainingConfig/gradientCheckpointing/1"
    assert caught.value.error.fix[0].value in ("blocks.0", "blocks")


def test_no_wish_changes_nothing():
    model = stack()
    assert recompute_activations(model, False) == []
    assert all("forward" not in vars(module) for module in model.modules())
    assert alerts_of(False, []) == []


MODEL = """
from torch import nn

class Block(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2))

def build_model():
    return nn.Sequential(Block(), Block(), nn.Linear(6, 3))
"""


def test_a_run_ends_with_the_same_bits_with_and_without(bench):
    bench.write_model(MODEL)
    plain = bench.train("plain", trainingConfig={"epochs": 2})
    saving = bench.train("saving", trainingConfig={"epochs": 2, "gradientCheckpointing": True})
    for name, array in plain.weights().items():
        assert np.array_equal(array, saving.weights()[name]), name
    (alert,) = [alert for alert in saving.of(Alert) if alert.code == "activations_recomputed"]
    assert "2 blocks" in alert.message
    path = {"resumeFrom": str(plain.run_folder)}
    resumed = bench.train("on", checkpointConfig=path, trainingConfig={"epochs": 3, "gradientCheckpointing": True})
    assert resumed.ending.state == "succeeded"
