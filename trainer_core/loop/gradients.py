"""What is done to gradients and rates of all parameters at once."""

from collections.abc import Iterable

import torch
from torch import Tensor


def make_mean(parameters: Iterable[Tensor], samples: int, count: Tensor) -> None:
    """Turn gradients that were divided by the number of ``samples`` into means over ``count`` targets, in place.

    They differ where targets are masked or weighted, or a sample has several. A count of 0 leaves gradients of 0. On a
    CPU the count is read, and equal numbers cost nothing; on a GPU one multiplication is cheaper than the wait.
    """
    if count.device.type == "cpu" and count.item() == samples:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if gradients:
        torch._foreach_mul_(gradients, torch.where(count > 0, samples / count, 0.0).to(gradients[0].dtype))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group the same rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
