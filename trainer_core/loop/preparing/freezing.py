"""Parameters that are left as they are while the others are trained."""

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from trainer_core.arguments import invalid
from trainer_core.loop.preparing.names import fits, matching

_POINTER = "/modelConfig/freeze"


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Take the gradients from all parameters that one of ``patterns`` fits; their names.

    A normalisation with running statistics whose parameters are all frozen (or which has none, and whose own name a
    pattern fits) is put into evaluation mode: its statistics are part of what was learnt, and go on standing still.
    Dropout is left as it is. No pattern: nothing happens.

    Raises Failure ``input_invalid`` for a pattern that fits nothing, and when nothing is left to train.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    statistics = [name for name, _ in model.named_buffers()]
    for index, pattern in enumerate(patterns):
        for name in matching(pattern, [*named, *statistics], f"{_POINTER}/{index}", "parameter"):
            if name in named:
                # The method is refused by a lazy parameter.
                named[name].requires_grad = False
    if not patterns:
        return []
    if not any(parameter.requires_grad for parameter in named.values()):
        raise invalid(_POINTER, "modelConfig.freeze leaves no parameter to train.", next_move="Freeze fewer of them.")
    _still_statistics(model, patterns)
    return [name for name, _ in model.named_parameters() if any(fits(pattern, name) for pattern in patterns)]


def _still_statistics(model: nn.Module, patterns: Sequence[str]) -> None:
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and module.track_running_stats:
            own = list(module.parameters(recurse=False))
            of_none = not own and any(fits(pattern, f"{name}.running_mean") for pattern in patterns)
            if of_none or (own and not any(parameter.requires_grad for parameter in own)):
                module.eval()
