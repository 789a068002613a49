"""Parameters that are left as they are while the others are trained."""

from collections.abc import Mapping, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from schemas.problems import PatchOperation
from trainer_core.arguments import invalid
from trainer_core.failure import Failure
from trainer_core.loop.preparing.names import fits, matching

_POINTER = "/modelConfig/freeze"


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Take the gradients from all parameters that one of ``patterns`` fits; their names.

    A normalisation with running statistics whose parameters are all frozen (or which has none, and whose own name a
    pattern fits) is put into evaluation mode: its statistics are part of what was learnt, and go on standing still.
    Dropout is left as it is. No pattern: nothing happens.

    Raises Failure ``input_invalid`` for a pattern that fits nothing, and when nothing is left to train, with the patterns to
    leave out.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    trainable = [parameter for parameter in named.values() if parameter.requires_grad]
    statistics = [name for name, _ in model.named_buffers()]
    for index, pattern in enumerate(patterns):
        for name in matching(pattern, [*named, *statistics], f"{_POINTER}/{index}", "parameter"):
            if name in named:
                # The method is refused by a lazy parameter.
                named[name].requires_grad = False
    if not patterns:
        return []
    if not any(parameter.requires_grad for parameter in named.values()):
        raise _nothing_left(named, trainable, patterns)
    _still_statistics(model, patterns)
    return [name for name, _ in model.named_parameters() if any(fits(pattern, name) for pattern in patterns)]


def _nothing_left(
    named: Mapping[str, nn.Parameter], trainable: Sequence[nn.Parameter], patterns: Sequence[str]
) -> Failure:
    """The failure of ``patterns`` that freeze all that was ``trainable``. What stands nearest to the output is what such a
    model usually learns: the fix leaves out the patterns that freeze it."""
    if not trainable:
        return invalid(
            _POINTER,
            "The model file gives no parameter requires_grad=True, and modelConfig.freeze leaves none to train either.",
            next_move="Leave parameters of the model with requires_grad=True.",
        )
    counts = [sum(fits(pattern, name) for name in named) for pattern in patterns]
    frozen = ", ".join(f"{pattern!r} freezes {count}" for pattern, count in zip(patterns, counts, strict=True))
    aliases = [name for name, parameter in named.items() if parameter is trainable[-1]]
    dropped = [index for index, pattern in enumerate(patterns) if any(fits(pattern, name) for name in aliases)]
    without = " and ".join(repr(patterns[index]) for index in dropped)
    fix = [PatchOperation(op="remove", path=f"{_POINTER}/{index}") for index in reversed(dropped)]
    if len(dropped) == len(patterns):
        fix = [PatchOperation(op="remove", path=_POINTER)]
    return invalid(
        _POINTER,
        f"modelConfig.freeze leaves no parameter to train: of {len(named)}, {frozen}.",
        next_move=f"Leave out {without}, as the fix does: then {aliases[0]} is trained. Or name fewer parameters.",
        fix=fix,
    )


def _still_statistics(model: nn.Module, patterns: Sequence[str]) -> None:
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and module.track_running_stats:
            own = list(module.parameters(recurse=False))
            of_none = not own and any(fits(pattern, f"{name}.running_mean") for pattern in patterns)
            if of_none or (own and not any(parameter.requires_grad for parameter in own)):
                module.eval()
