"""A momentum buffer for every parameter of a fused SGD before it is stepped.

Torch's fused step has none for a parameter that gets its first gradient when others have theirs, and fails; and where the
device refuses the very first step, it leaves buffers that nobody has written to.
"""

from typing import Any

import torch
from torch.optim import SGD, Optimizer


def takes_buffers_of_zeros(arguments: dict[str, Any]) -> bool:
    """Whether an SGD with these ``arguments`` may begin with buffers of zeros: the first one is the gradient then, as it
    should be. With dampening it would be a part of it."""
    return not (arguments.get("momentum") and arguments.get("dampening"))


def begin_momentum(optimizer: Optimizer) -> None:
    """Let ``optimizer``, where it is a fused SGD with momentum, find a buffer for each gradient. Others stay as they are."""
    if isinstance(optimizer, SGD) and any(group["fused"] and group["momentum"] for group in optimizer.param_groups):
        optimizer.register_step_pre_hook(_give_buffers)


def _give_buffers(optimizer: Optimizer, _arguments: Any, _options: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
