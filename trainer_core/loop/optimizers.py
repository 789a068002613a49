"""Optimizers of torch.optim, by name."""

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from schemas.optimizers import OPTIMIZERS, OptimizerEntry, find_optimizer
from schemas.training import TrainingConfig
from trainer_core.arguments import Arguments, invalid
from trainer_core.failure import Failure
from trainer_core.loop.momentum import begin_momentum, takes_buffers_of_zeros
from trainer_core.loop.preparing.parameter_groups import group_parameters
from trainer_core.loop.stepping import shorten_step

_POINTER = "/trainingConfig/optimizerArgs"
_ADAM_LIKE = frozenset({"Adam", "AdamW", "Adamax", "NAdam", "RAdam"})


def default_learning_rate(training: TrainingConfig, parameters: int) -> float:
    """The optimizer's usual rate; for Adam and its kin lower for a model of more than 9 million ``parameters``.

    The rule is min(1, (0.003239 - 0.0001395 ln N) / 0.001), the largest stable rate of Adam found for language
    models by Kaplan et al. 2020 (Scaling Laws, appendix D.6, equation D.1) in proportion to Adam's usual 0.001,
    and at least 0.06: the rate of GPT-3's 175 billion parameters (Brown et al. 2020, table 2.1), where the rule
    has long turned negative. 100 million parameters: 0.00067; a billion: 0.00035.
    """
    entry = _entry(training)
    if entry.name not in _ADAM_LIKE:
        return entry.learning_rate
    share = (0.003239 - 0.0001395 * math.log(max(parameters, 1))) / 0.001
    return entry.learning_rate * min(1.0, max(share, 0.06))


def default_weight_decay(training: TrainingConfig) -> float:
    """``trainingConfig.weightDecay``, or the optimizer's own: 0.01 for AdamW, 0 for most."""
    return _entry(training).weight_decay if training.weight_decay is None else training.weight_decay


def build_optimizer(
    model: nn.Module, training: TrainingConfig, learning_rate: float, device: torch.device
) -> torch.optim.Optimizer:
    """The optimizer called ``trainingConfig.optimizer`` over all trainable parameters of ``model``.

    Each group (see ``group_parameters``) has a ``name``, the names of its parameters in order (``param_names``), and the
    ``lr_factor`` that ``set_learning_rate`` heeds. The fused form is taken wherever there is one: on a CPU it was
    measured 2 to 5 times as fast as torch's default (AdamW, 160 tensors of 64 wide: 1.0 instead of 5.5 ms a step).

    Raises Failure ``input_invalid`` for arguments that torch refuses, ``model_invalid`` when nothing is trainable
    or Muon is to train what is no matrix; the first backward pass raises it for a sparse gradient.
    """
    entry = _entry(training)
    found = group_parameters(model, training.parameter_groups, learning_rate, default_weight_decay(training))
    groups = [group.options(learning_rate) for group in found]
    if not groups:
        raise Failure(
            "model_invalid",
            "The model has no trainable parameter.",
            next_move="Leave at least one parameter with requires_grad=True.",
        )
    if entry.name == "Muon":
        _refuse_non_matrices(groups)
    kind = getattr(torch.optim, entry.name)
    takes = inspect.signature(kind).parameters
    if any(group.weight_decay for group in found) and not entry.takes_weight_decay:
        raise invalid("/trainingConfig/weightDecay", f"{entry.name} has no weight decay: leave weightDecay out.")
    arguments = Arguments(entry, training.optimizer_args, _POINTER).given
    if "fused" in takes and _can_fuse(groups, device) and takes_buffers_of_zeros(arguments):
        arguments["fused"] = True
    try:
        optimizer = kind(groups, lr=learning_rate, **arguments)
    except (TypeError, ValueError) as error:
        message = f"torch.optim.{entry.name} refuses these arguments: {training.optimizer_args!r}."
        raise invalid(_POINTER, message, detail=str(error)) from error
    assert isinstance(optimizer, torch.optim.Optimizer)
    _refuse_sparse_gradients(optimizer)
    begin_momentum(optimizer)
    shorten_step(optimizer)
    return optimizer


def _entry(training: TrainingConfig) -> OptimizerEntry:
    entry = find_optimizer(training.optimizer)
    if entry is None:
        names = ", ".join(entry.name for entry in OPTIMIZERS)
        raise invalid("/trainingConfig/optimizer", f"There is no optimizer {training.optimizer!r}; there are: {names}.")
    return entry


def _refuse_non_matrices(groups: list[dict[str, Any]]) -> None:
    for group in groups:
        for name, parameter in group["params"]:
            if parameter.ndim != 2:
                raise Failure(
                    "model_invalid",
                    f"Muon trains matrices only, and {name!r} has the shape {tuple(parameter.shape)}.",
                    next_move='Set trainingConfig.optimizer to "AdamW".',
                )


def _refuse_sparse_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Look at the first gradient of each parameter, and then no more: neither clipping nor these optimizers take a sparse
    one."""
    for group in optimizer.param_groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            _look_at_first_gradient(name, parameter)


def _look_at_first_gradient(name: str, parameter: Tensor) -> None:
    def look(gradient: Tensor) -> None:
        handle.remove()
        if gradient.layout != torch.strided:
            raise Failure(
                "model_invalid",
                f"The gradient of {name!r} is sparse, and no optimizer here takes one.",
                next_move="Build the embedding with sparse=False.",
            )

    handle = parameter.register_hook(look)  # type: ignore[no-untyped-call]


def _can_fuse(groups: list[dict[str, Any]], device: torch.device) -> bool:
    """Whether the fused kernels fit: they walk raw memory, so every parameter must be real and fill its own."""
    return device.type in ("cuda", "cpu") and all(
        parameter.is_floating_point() and torch.empty_like(parameter, device="meta").stride() == parameter.stride()
        for group in groups
        for _, parameter in group["params"]
    )
