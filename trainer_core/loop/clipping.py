"""Gradients kept within bounds; the norm before that, for the report."""

from collections.abc import Iterable

import torch
from torch import Tensor

from schemas.training import TrainingConfig

# As in torch.nn.utils.clip_grad_norm_: a norm of 0 is no division by 0.
_TINY = 1e-6


def uniform(gradients: list[Tensor]) -> bool:
    """Whether one call can take all of them: of one type, on one device."""
    if not gradients:
        return False
    first = gradients[0]
    return all(gradient.dtype == first.dtype and gradient.device == first.device for gradient in gradients)


def total_norm(gradients: list[Tensor]) -> Tensor:
    """The 2-norm of all ``gradients`` together, a scalar on their device; 0 without any.

    Equal to ``torch.nn.utils.get_total_norm``, which sorts gradients by device and type at every call: on a small model that
    costs more than the arithmetic.
    """
    if not uniform(gradients):
        return torch.nn.utils.get_total_norm(gradients)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


class Clipping:
    """Bounds nothing; measures the norm. The null form."""

    def clip(self, parameters: Iterable[Tensor]) -> Tensor:
        """The total 2-norm of all gradients before clipping, on their device and without a sync; 0 without any."""
        return total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


class NormClipping(Clipping):
    """Scales all gradients together so that their total 2-norm is at most ``largest`` (Pascanu et al. 2013)."""

    def __init__(self, largest: float) -> None:
        self._largest = largest

    def clip(self, parameters: Iterable[Tensor]) -> Tensor:
        """Scale; returns the norm before."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = total_norm(gradients)
        share = torch.clamp(self._largest / (norm + _TINY), max=1.0)
        if uniform(gradients):
            torch._foreach_mul_(gradients, share.to(gradients[0].dtype))
        else:
            for gradient in gradients:
                gradient.mul_(share.to(gradient.device, gradient.dtype))
        return norm


class ValueClipping(Clipping):
    """Bounds each element of every gradient to [-largest, largest]."""

    def __init__(self, largest: float) -> None:
        self._largest = largest

    def clip(self, parameters: Iterable[Tensor]) -> Tensor:
        """Clamp; returns the norm before."""
        with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
        norm = super().clip(with_gradient)
        if with_gradient:
            torch.nn.utils.clip_grad_value_(with_gradient, self._largest)
        return norm


def build_clipping(training: TrainingConfig) -> Clipping:
    """Clipping as the request says: by norm 1.0 when absent, off when 0."""
    largest = training.gradient_clipping
    if largest == 0:
        return Clipping()
    return ValueClipping(largest) if training.clip_by == "value" else NormClipping(largest)
