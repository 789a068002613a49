"""Batch normalisation over the samples of all ranks, as one process would see them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class HostBatchNorm(_BatchNorm):
    """What torch's SyncBatchNorm is on a GPU, on a CPU: mean and variance of all ranks' samples by two sums over ranks, and
    two more in the backward pass."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"Batch normalisation wants two dimensions at least, and got {input.ndim}.")

    def forward(self, input: Tensor) -> Tensor:
        """``input``, of shape (N, C, ...), normalised."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        each = [0, *range(2, x.ndim)]
        column = (1, -1, *[1] * (x.ndim - 2))
        summed = _sum_over_ranks(torch.cat([x.sum(each), x.new_full((1,), x.numel() // x.size(1))]))
        count = summed[-1].detach()
        mean = summed[:-1] / count
        centred = x - mean.view(column)
        variance = _sum_over_ranks(centred.square().sum(each)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        x = centred * torch.rsqrt(variance + self.eps).view(column)
        if self.weight is not None:
            x = x * self.weight.view(column)
        if self.bias is not None:
            x = x + self.bias.view(column)
        return x.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; without a momentum all batches count the same."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class _LocalNorm(_BatchNorm):
    """One that sees the samples of its own rank, of whatever shape."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any will do."""


@contextmanager
def norms_alone(model: nn.Module) -> Iterator[None]:
    """Inside, no batch normalisation of ``model`` waits for other ranks."""
    synced: list[tuple[nn.Module, type[nn.Module]]] = [
        (module, type(module)) for module in model.modules() if isinstance(module, HostBatchNorm | nn.SyncBatchNorm)
    ]
    for module, _ in synced:
        module.__class__ = _LocalNorm
    try:
        yield
    finally:
        for module, kind in synced:
            module.__class__ = kind


@contextmanager
def norms_set_aside(model: nn.Module) -> Iterator[None]:
    """Inside, the batch normalisations of ``model`` that will see the samples of all ranks go by their running statistics: a
    rank's single sample is none to them."""
    trained = [module for module in model.modules() if _can_be_synced(module) and module.training]
    for module in trained:
        module.training = False
    try:
        yield
    finally:
        for module in trained:
            module.training = True


class _SumOverRanks(torch.autograd.Function):
    """The sum over ranks; so is its gradient."""

    @staticmethod
    def forward(_context: FunctionCtx, tensor: Tensor) -> Tensor:
        summed = tensor.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_context: FunctionCtx, *gradients: Any) -> Tensor:
        summed: Tensor = gradients[0].clone()
        dist.all_reduce(summed)
        return summed


def _sum_over_ranks(tensor: Tensor) -> Tensor:
    summed: Tensor = _SumOverRanks.apply(tensor)  # type: ignore[no-untyped-call]
    return summed


def sync_batch_norms(model: nn.Module, device: torch.device) -> None:
    """Let every batch normalisation of ``model`` see the samples of all ranks. Modules, names and state stay what they are;
    only torch's own classes are changed, not those that a model file makes of them."""
    for module in model.modules():
        if not _can_be_synced(module):
            continue
        if device.type == "cpu":
            module.__class__ = HostBatchNorm
        else:
            module.__class__ = nn.SyncBatchNorm
            module.process_group = None  # type: ignore[assignment]


def sees_one_rank(model: nn.Module, synced: bool) -> list[str]:
    """Batch normalisations in training mode, by name, that see the samples of one rank alone, when those that can be are
    ``synced``."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        and module.training
        and not isinstance(module, nn.SyncBatchNorm | HostBatchNorm)
        and not (synced and _can_be_synced(module))
    ]


def _can_be_synced(module: nn.Module) -> bool:
    # One whose forward was replaced would go on calling the old one.
    return type(module) in _KINDS and "forward" not in vars(module)
