"""A run before its first step: kept, so that steps can be tried, and put back to the bit."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainer_core.loop.buffers import keeping_buffers
from trainer_core.loop.trainer import Trainer


@contextmanager
def undone(trainer: Trainer) -> Iterator[None]:
    """Steps may be taken inside: afterwards parameters, buffers, optimizer, gradient scaler and figures of this rank are what
    they were, and there are no gradients. Generators are seeded when the run begins, after all that it tries.

    Parameters wait on the host meanwhile. What a model keeps elsewhere (a counter that is a Python attribute) stays as the
    steps left it.
    """
    parameters = [(held, held.to("cpu", copy=True)) for held in map(_held, trainer.model.parameters())]
    extras = [(module, copy.deepcopy(module.get_extra_state())) for module in _with_extra_state(trainer.model)]
    optimizer = copy.deepcopy(trainer.optimizer.state_dict())
    precision = copy.deepcopy(trainer.precision.state())
    try:
        with keeping_buffers(trainer.model):
            yield
    finally:
        trainer.gradients.clear()
        with torch.no_grad():
            for held, value in parameters:
                held.copy_(value)
        for module, state in extras:
            module.set_extra_state(state)
        trainer.optimizer.load_state_dict(optimizer)
        trainer.precision.restore(precision)
        trainer.figures.reset()


def _held(parameter: Tensor) -> Tensor:
    """What this rank holds of it."""
    held: Tensor = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return held.detach()


def _with_extra_state(model: nn.Module) -> Iterator[Any]:
    own = nn.Module.get_extra_state
    return (module for module in model.modules() if type(module).get_extra_state is not own)
