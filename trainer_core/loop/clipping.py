"""Gradients kept within bounds; the norm before that, for the report."""

import torch
from torch import Tensor

from schemas.training import TrainingConfig
from trainer_core.loop.gradients import Gradients

# As in torch.nn.utils.clip_grad_norm_: a norm of 0 is no division by 0.
_TINY = 1e-6
# Below this share of the bound the factor is 1 however it is rounded.
_WELL_WITHIN = 0.999


class Clipping:
    """Bounds nothing; measures the norm. The null form."""

    def clip(self, gradients: Gradients) -> Tensor:
        """The total 2-norm of all gradients before clipping, on their device and without a sync; 0 without any."""
        return gradients.norm()


class NormClipping(Clipping):
    """Scales all gradients together so that their total 2-norm is at most ``largest`` (Pascanu et al. 2013)."""

    def __init__(self, largest: float) -> None:
        self._largest = largest

    def clip(self, gradients: Gradients) -> Tensor:
        """Scale; returns the norm before. On a CPU the norm is read, and one that is well within bounds costs nothing more."""
        norm = gradients.norm()
        if norm.device.type != "cpu" or not norm.item() < _WELL_WITHIN * self._largest:
            gradients.scale(torch.clamp(self._largest / (norm + _TINY), max=1.0))
        return norm


class ValueClipping(Clipping):
    """Bounds each element of every gradient to [-largest, largest]."""

    def __init__(self, largest: float) -> None:
        self._largest = largest

    def clip(self, gradients: Gradients) -> Tensor:
        """Clamp; returns the norm before."""
        norm = gradients.norm()
        gradients.bound(self._largest)
        return norm


def build_clipping(training: TrainingConfig) -> Clipping:
    """Clipping as the request says: by norm 1.0 when absent, off when 0."""
    largest = training.gradient_clipping
    if largest == 0:
        return Clipping()
    return ValueClipping(largest) if training.clip_by == "value" else NormClipping(largest)
