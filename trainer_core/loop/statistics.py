"""The running statistics of batch normalisation, for weights that no step has trained: those of an average."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer_core.loop.batches import Batches
from trainer_core.loop.evaluation import evaluating
from trainer_core.loop.forward import Forward


@dataclass(frozen=True)
class Statistics:
    """Estimates statistics from one pass over the ``steps`` optimizer batches of the first epoch; each rank from its share.
    ``at_once`` says how many samples go through in training by now: fewer than in the beginning, where memory was short."""

    batches: Batches
    steps: int
    forward: Forward
    device: torch.device
    at_once: Callable[[], int]

    def settle(self, model: nn.Module) -> None:
        """Give every batch normalisation of ``model`` the mean of its batches' statistics. Dropout and the like stay off, so
        nothing is drawn. Costs nothing for a model without one."""
        norms = [item for item in model.modules() if isinstance(item, _BatchNorm) and item.track_running_stats]
        # Frozen ones stand still.
        norms = [norm for norm in norms if norm.training]
        if not norms:
            return
        with torch.no_grad(), evaluating(model), _averaging(norms):
            for batch in self.batches.of_epoch(0, 0, self.steps):
                for micro in batch.micro_batches(self.at_once(), self.device):
                    self.forward.output(model, micro.inputs)


@contextmanager
def _averaging(norms: list[_BatchNorm]) -> Iterator[None]:
    """In training mode, from nothing, each batch counting the same; the momenta are put back."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.training = True
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
