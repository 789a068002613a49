"""Batch normalisation of two ranks is that of one process which has all their samples: outputs, gradients, statistics."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainer_core.calls_on_ranks import call_on_ranks
from trainer_core.loop.ranks import Group
from trainer_core.loop.strategies.synced_norm import HostBatchNorm, sync_batch_norms

WORLD = 2
CHANNELS = 3
STEPS = 2


@dataclass(frozen=True)
class Case:
    """A batch normalisation, and the shape of a sample behind its channels."""

    kind: type[nn.Module]
    behind: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    affine: bool = True
    tracked: bool = True
    momentum: float | None = 0.3
    samples: int = 7
    held: bool = False

    def build(self) -> Any:
        """The module, with weights that change something and an ``eps`` that shows."""
        options = {"affine": self.affine, "track_running_stats": self.tracked, "momentum": self.momentum, "eps": 0.1}
        norm: Any = self.kind(CHANNELS, **options)
        if self.affine:
            norm.weight.data = torch.tensor([0.5, 2.0, -1.0])
            norm.bias.data = torch.tensor([0.0, 1.0, -3.0])
        # Set by a model file, after it has built it.
        norm.track_running_stats = self.tracked and not self.held
        return norm.double() if self.dtype == torch.float64 else norm

    def draw(self) -> tuple[Tensor, Tensor]:
        """Inputs of each step, and what their outputs are weighed with."""
        generator = torch.Generator().manual_seed(5)
        shape = (STEPS, self.samples, CHANNELS, *self.behind)
        inputs = 2 + 3 * torch.randn(shape, generator=generator)
        return inputs.to(self.dtype), torch.randn(shape, generator=generator).to(self.dtype)

    def share(self, index: int) -> slice:
        """The samples of a rank: the second has one."""
        last = self.samples - 1
        return slice(last, None) if index else slice(last)


CASES = {
    "rows": Case(nn.BatchNorm1d),
    "a sample each": Case(nn.BatchNorm1d, samples=2),
    "sequences": Case(nn.BatchNorm1d, (2,)),
    "images": Case(nn.BatchNorm2d, (2, 4)),
    "volumes": Case(nn.BatchNorm3d, (2, 1, 3)),
    "doubles": Case(nn.BatchNorm1d, dtype=torch.float64),
    "halves": Case(nn.BatchNorm2d, (2, 4), dtype=torch.bfloat16),
    "without weights": Case(nn.BatchNorm1d, affine=False),
    "without statistics": Case(nn.BatchNorm1d, tracked=False),
    "statistics that stand still": Case(nn.BatchNorm1d, held=True),
    "a mean of all batches": Case(nn.BatchNorm1d, momentum=None),
}


def train(norm: Any, inputs: Tensor, factors: Tensor) -> dict[str, Any]:
    """Outputs and gradients of each step, and the state after the last."""
    outputs, gradients = [], []
    for x, factor in zip(inputs, factors, strict=True):
        x = x.clone().requires_grad_()
        output = norm(x)
        # A copy: of a single sample torch keeps what it is given as the bias's gradient, and adds the next to it.
        output.backward(factor.clone())
        outputs.append(output.detach())
        gradients.append(x.grad)
    weights = {name: parameter.grad for name, parameter in norm.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    together = {"outputs": torch.stack(outputs), "gradients": torch.stack(gradients)}
    return {**together, "weights": weights, "buffers": buffers}


def work(ranks: Group) -> dict[str, dict[str, Any]]:
    """Every case, as one rank."""
    given = {}
    for name, case in CASES.items():
        model = nn.Sequential(case.build())
        sync_batch_norms(model, ranks.device)
        assert type(model[0]) is HostBatchNorm
        inputs, factors = (drawn[:, case.share(ranks.index)] for drawn in case.draw())
        given[name] = train(model[0], inputs, factors)
    return given


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, dict[str, Any]]]:
    """What came of the cases, by rank."""
    return call_on_ranks(WORLD, Group, work)


@pytest.mark.parametrize("name", CASES)
def test_it_is_that_of_one_process(ranks, name):
    case, parts = CASES[name], [rank[name] for rank in ranks]
    whole = train(case.build(), *case.draw())
    bounds = {"atol": 1e-12 if case.dtype == torch.float64 else 2e-6, "rtol": 1e-5}
    for kind in ("outputs", "gradients"):
        together = torch.cat([part[kind] for part in parts], 1)
        assert together.dtype == whole[kind].dtype
        # A half is rounded once.
        rounded = {"atol": 1e-5, "rtol": 0.008} if case.dtype == torch.bfloat16 else bounds
        assert torch.allclose(together, whole[kind], **rounded), kind
    for weight, gradient in whole["weights"].items():
        summed = sum(part["weights"][weight] for part in parts)
        assert torch.allclose(summed, gradient, **bounds), weight
    for part in parts:
        assert part["buffers"].keys() == whole["buffers"].keys()
        for buffer, value in whole["buffers"].items():
            assert part["buffers"][buffer].dtype == value.dtype
            assert torch.allclose(part["buffers"][buffer], value, **bounds), buffer


@pytest.mark.parametrize("training", [True, False])
def test_channels_are_wanted(training):
    with pytest.raises(ValueError, match="wants two dimensions at least, and got 1"):
        HostBatchNorm(CHANNELS).train(training)(torch.ones(CHANNELS))
