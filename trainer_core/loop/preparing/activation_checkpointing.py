"""Blocks that keep no activations: they are computed again in the backward pass (Chen et al. 2016, arXiv:1604.06174).

A block's ``forward`` is replaced on the instance, so all names stay as they are: of modules, parameters and state. Torch's
own wrapper is a module around the block, which changes the names of parameters.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from schemas.events import Alert
from trainer_core.loop.preparing.names import matching

_POINTER = "/trainingConfig/gradientCheckpointing"
_CONTAINERS = (nn.Sequential, nn.ModuleList)
_LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


class Recomputed:
    """The ``forward`` of ``block``, without keeping what it computes on the way. Random numbers are drawn again as they were,
    and running statistics are counted once."""

    def __init__(self, block: nn.Module) -> None:
        self._block = block
        self._forward = block.forward
        self._statistics = [
            item for item in block.modules() if isinstance(item, _NormBase) and item.track_running_stats
        ]

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """What ``forward`` returns."""
        if not torch.is_grad_enabled():
            return self._forward(*inputs, **named)
        if not self._statistics:
            return checkpoint(self._forward, *inputs, use_reentrant=False, **named)
        return checkpoint(self._forward, *inputs, use_reentrant=False, context_fn=self._contexts, **named)

    def _contexts(self) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        """Around the first computation, and around the second."""
        return nullcontext(), _not_counting(self._statistics)


@contextmanager
def _not_counting(norms: Sequence[_NormBase]) -> Iterator[None]:
    """``norms`` write to copies of their running statistics, and have their own back afterwards. Without any, the backward
    pass would keep other tensors than the first time, which torch refuses."""
    own = [(norm, dict(norm._buffers)) for norm in norms if norm.training]
    for norm, buffers in own:
        norm._buffers.update({name: None if item is None else item.clone() for name, item in buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in own:
            norm._buffers.update(buffers)


def recompute_activations(model: nn.Module, wanted: bool | Sequence[str]) -> list[str]:
    """Let blocks of ``model`` be computed again in the backward pass, all repeated ones or those that a pattern names; the
    names of those blocks. ``False``: nothing happens.

    Raises Failure ``input_invalid`` for a pattern that fits no module.
    """
    repeated = repeated_blocks(model) if wanted is True else ()
    blocks = dict(repeated) if isinstance(wanted, bool) else _named(model, wanted)
    for block in blocks.values():
        forward: Callable[..., Any] = Recomputed(block)
        block.forward = forward
    return list(blocks)


def alerts_of(wanted: bool | Sequence[str], blocks: Sequence[str]) -> list[Alert]:
    """What was made of the wish."""
    if not wanted:
        return []
    if not blocks:
        return [
            Alert(
                code="nothing_to_recompute",
                level="warning",
                message="trainingConfig.gradientCheckpointing finds no repeated blocks: the model has no ModuleList or "
                "Sequential of blocks, and no transformer layers.",
                remedy="Name the modules: a list of names or patterns instead of true.",
            )
        ]
    shown = ", ".join(blocks[:3]) + (f" and {len(blocks) - 3} more" if len(blocks) > 3 else "")
    message = f"Activations of {len(blocks)} blocks are computed again in the backward pass: {shown}."
    return [Alert(code="activations_recomputed", level="info", message=message, evidence={"blocks": list(blocks[:20])})]


def repeated_blocks(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The outermost blocks below ``module``: transformer layers, and what stands with others of its kind in a list or
    sequence and has modules of its own."""
    in_container = isinstance(module, _CONTAINERS)
    for name, child in module.named_children():
        is_block = isinstance(child, _LAYERS) or (in_container and _is_block(child))
        if is_block and not isinstance(child, torch.jit.ScriptModule):
            yield prefix + name, child
        else:
            yield from repeated_blocks(child, f"{prefix}{name}.")


def _is_block(child: nn.Module) -> bool:
    """Whether ``child`` is neither a single layer nor itself a container of blocks."""
    children = list(child.children())
    holds_blocks = isinstance(child, _CONTAINERS) and any(list(grandchild.children()) for grandchild in children)
    # A ModuleList cannot be called.
    return bool(children) and not holds_blocks and not isinstance(child, nn.ModuleList)


def _named(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """The modules that ``patterns`` fit, without those that are inside another of them."""
    modules = {name: module for name, module in model.named_modules() if name and not isinstance(module, nn.ModuleList)}
    names: set[str] = set()
    for index, pattern in enumerate(patterns):
        names.update(matching(pattern, modules, f"{_POINTER}/{index}", "module"))
    outermost = [name for name in modules if name in names and not any(name.startswith(f"{other}.") for other in names)]
    return {name: modules[name] for name in outermost}
