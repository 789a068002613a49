"""The gradients of all trained parameters: what is done to all of them at once."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Gradients:
    """The gradients of ``parameters``, as they stand when they are asked for; a parameter may have none."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._parameters = list(parameters)
        # One call then takes all of them.
        self._uniform = len({(parameter.dtype, parameter.device) for parameter in self._parameters}) == 1

    def present(self) -> list[Tensor]:
        """Those there are."""
        return [parameter.grad for parameter in self._parameters if parameter.grad is not None]

    def norm(self) -> Tensor:
        """The 2-norm of all together, a scalar on their device, without a sync; 0 without any.

        Equal to ``torch.nn.utils.get_total_norm``, which sorts gradients by device and type at every call: on a small model
        that costs more than the arithmetic.
        """
        present = self.present()
        if not self._uniform or not present:
            return torch.nn.utils.get_total_norm(present)
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(present)))
        return norm

    def scale(self, factor: Tensor) -> None:
        """Multiply all by the scalar ``factor``, in place."""
        present = self.present()
        if self._uniform and present:
            torch._foreach_mul_(present, factor.to(present[0].dtype))
            return
        for gradient in present:
            gradient.mul_(factor.to(gradient.device, gradient.dtype))

    def bound(self, largest: float) -> None:
        """Clamp each element to [-largest, largest], in place."""
        if self.present():
            torch.nn.utils.clip_grad_value_(self._parameters, largest)

    def make_mean(self, samples: int, count: Tensor) -> None:
        """Turn gradients that were divided by the number of ``samples`` into means over ``count`` targets, in place.

        They differ where targets are masked or weighted, or a sample has several. A count of 0 leaves gradients of 0. On a
        CPU the count is read, and equal numbers cost nothing; on a GPU one multiplication is cheaper than the wait.
        """
        if count.device.type != "cpu" or count.item() != samples:
            self.scale(torch.where(count > 0, samples / count, 0.0))

    def clear(self) -> None:
        """Take all away, as ``Optimizer.zero_grad`` does."""
        for parameter in self._parameters:
            parameter.grad = None


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group this rate, times its ``lr_factor``."""
    optimizer.defaults["lr"] = learning_rate
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_factor"]


def get_learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The rate that was set: that of a group whose factor is 1, be there one or not."""
    return float(optimizer.defaults["lr"])
