"""The figures of held-out samples: sums and counts of whole batches, each sample once."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from trainer_core.data.samples import Indices
from trainer_core.loop.batches import moved
from trainer_core.loop.forward import Forward, Pass
from trainer_core.loop.joining import have_rows
from trainer_core.loop.metrics.metrics import Figures
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.recovery.memory import Memory
from trainer_core.loop.recovery.moment import Moment
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
    sums, kept in float64, do not depend on the number of ranks. Where a pass of one rank waits for one of each other, those
    with fewer passes take spare ones, which are not counted.
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
        memory: Memory,
        moment: Moment,
    ) -> None:
        parts = [np.arange(start, min(start + batch_size, samples)) for start in range(0, samples, batch_size)]
        self._parts = parts[ranks.index :: ranks.world]
        self._spare = [parts[0][:1]] * (ranks.most(len(self._parts)) - len(self._parts))
        self._source = source
        self._forward = forward
        self._figures = figures
        self._ranks = ranks
        self._device = device
        self._stop = stop
        self._batch_size = batch_size
        self._memory = memory
        self._moment = moment

    def run(self, model: nn.Module) -> dict[str, float] | None:
        """Figures of ``model`` as it is now, by name (``valLoss``, ...); None when the run was asked to stop meanwhile."""
        self._ranks.share_buffers(model)
        self._figures.reset()
        with torch.no_grad(), evaluating(model):
            parts = self._parts + self._spare
            fetched = self._source.fetch(parts, 0)
            for number, (part, (inputs, targets)) in enumerate(zip(parts, fetched, strict=False)):
                if self._ranks.most(self._stop.requested):
                    break
                batch = _Batch(self._source, part, inputs, targets)
                self._observe(model, batch, counted=number < len(self._parts))
        if self._ranks.any(self._stop.requested):
            return None
        self._figures.merge(self._ranks)
        # The first rank's: a figure of the model file may draw numbers, and all must judge an epoch alike.
        figures: dict[str, float] = self._ranks.gather(self._figures.compute("val"))[0]
        self.omitted = self._figures.omitted
        return figures

    def _observe(self, model: nn.Module, batch: "_Batch", counted: bool) -> None:
        """Count a batch: in one pass or, where memory is short, in several."""
        total, done = len(batch.part), 0
        passes = math.ceil(total / self._at_once(total)) if counted else 0
        for _ in range(self._ranks.most(passes) - passes):
            self._pass(model, batch, total - 1)
        while counted and done < total:
            self._moment.take()
            targets, passed = self._memory.attempt(lambda: self._pass(model, batch, done))  # noqa: B023
            self._figures.update(passed.output, targets, passed.loss_sum, passed.count)
            done += self._at_once(total)

    def _pass(self, model: nn.Module, batch: "_Batch", start: int) -> tuple[Any, Pass]:
        """Targets, and what came out, of the samples from number ``start`` on that go through at once."""
        inputs, targets = (
            moved(side, self._device) for side in batch.samples(start, start + self._at_once(len(batch.part)))
        )
        return targets, self._forward(model, inputs, targets)

    def _at_once(self, total: int) -> int:
        """Samples to a pass: all of a batch, until memory was short."""
        return total if self._memory.size >= self._batch_size else self._memory.size

    def close(self) -> None:
        """End the loader's processes."""
        self._source.close()


class _Batch(NamedTuple):
    """Held-out samples, by ``part`` their numbers, as they were fetched."""

    source: Source
    part: Indices
    inputs: Any
    targets: Any

    def samples(self, start: int, stop: int) -> tuple[Any, Any]:
        """Those from number ``start`` to ``stop`` (excluded): rows of what was fetched or, where there are none to be cut by,
        joined anew."""
        if start == 0 and stop >= len(self.part):
            return self.inputs, self.targets
        if self.source.joins and not have_rows(self.inputs, self.targets, len(self.part)):
            return self.source.take(self.part[start:stop], 0)
        inputs, targets = (map_tensors(lambda tensor: tensor[start:stop], side) for side in (self.inputs, self.targets))
        return inputs, targets


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``model`` in evaluation mode; afterwards every module's own training flag is as it was before, and those with a
    ``train()`` of their own have been told."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            if trains_its_own_way(module):
                module.train(training)
        for module, training in flags:
            module.training = training


def trains_its_own_way(module: nn.Module) -> bool:
    """Whether ``module`` has a ``train()`` of its own: one that holds parts of it still, or notes more than a flag."""
    return type(module).train is not nn.Module.train or "train" in vars(module)
