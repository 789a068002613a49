"""The figures of held-out samples: sums and counts of whole batches, each sample once."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from trainer_core.loop.forward import Forward
from trainer_core.loop.metrics.metrics import Figures
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.sources import Source
from trainer_core.loop.trees import map_tensors
from trainer_core.stop import Stop


class NoEvaluation:
    """There is nothing held out. The null form. ``omitted`` says why a figure was left out of the latest run."""

    omitted = ""

    def run(self, model: nn.Module) -> dict[str, float] | None:
        """No figures."""
        return {}

    def close(self) -> None:
        """Nothing was started."""


class Evaluation(NoEvaluation):
    """Evaluates ``samples`` held-out samples, ``batch_size`` to a pass.

    Whole batches are dealt to the ranks in turn. So every pass sees the samples that it would see in one process, and the
    sums, kept in float64, do not depend on the number of ranks.
    """

    def __init__(
        self,
        source: Source,
        samples: int,
        batch_size: int,
        forward: Forward,
        figures: Figures,
        ranks: Ranks,
        device: torch.device,
        stop: Stop,
    ) -> None:
        parts = [np.arange(start, min(start + batch_size, samples)) for start in range(0, samples, batch_size)]
        self._parts = parts[ranks.index :: ranks.world]
        self._source = source
        self._forward = forward
        self._figures = figures
        self._ranks = ranks
        self._device = device
        self._stop = stop

    def run(self, model: nn.Module) -> dict[str, float] | None:
        """Figures of ``model`` as it is now, by name (``valLoss``, ...); None when the run was asked to stop meanwhile."""
        self._ranks.share_buffers(model)
        self._figures.reset()
        with torch.no_grad(), evaluating(model):
            for inputs, targets in self._source.fetch(self._parts, 0):
                if self._stop.requested:
                    break
                self._observe(model, inputs, targets)
        if self._ranks.any(self._stop.requested):
            return None
        self._figures.merge(self._ranks)
        figures = self._figures.compute("val")
        self.omitted = self._figures.omitted
        return figures

    def _observe(self, model: nn.Module, inputs: object, targets: object) -> None:
        inputs, targets = (
            map_tensors(lambda tensor: tensor.to(self._device, non_blocking=True), side) for side in (inputs, targets)
        )
        passed = self._forward(model, inputs, targets)
        self._figures.update(passed.output, targets, passed.loss_sum, passed.count)

    def close(self) -> None:
        """End the loader's processes."""
        self._source.close()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``model`` in evaluation mode; afterwards every module's own training flag is as it was before."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
