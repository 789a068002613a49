"""Gradients kept within bounds; the norm before that, for the report."""

from collections.abc import Iterable

import torch
from torch import Tensor

from schemas.training import TrainingConfig


class Clipping:
    """Bounds nothing; measures the norm. The null form."""

    def clip(self, parameters: Iterable[Tensor]) -> Tensor:
        """The total 2-norm of all gradients before clipping, on their device and without a sync; 0 without any."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)


class NormClipping(Clipping):
    """Scales all gradients together so that their total 2-norm is at most ``largest`` (Pascanu et al. 2013)."""

    def __init__(self, largest: float) -> None:
        self._largest = largest

    def clip(self, parameters: Iterable[Tensor]) -> Tensor:
        """Scale; returns the norm before."""
        with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
        norm = super().clip(with_gradient)
        if with_gradient:
            torch.nn.utils.clip_grads_with_norm_(with_gradient, self._largest, norm)
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
    largest = 1.0 if training.gradient_clipping is None else training.gradient_clipping
    if largest == 0:
        return Clipping()
    return ValueClipping(largest) if training.clip_by == "value" else NormClipping(largest)
