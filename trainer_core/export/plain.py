"""What a model takes and gives, in the containers of Python alone: a program must not need the classes of a model file."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from trainer_core.failure import Failure
from trainer_core.loop.trees import items_of, with_items

# Sizes that a tracer leaves open are numbers, too.
_LEAVES = (Tensor, int, float, complex, str, torch.SymInt, torch.SymFloat, torch.SymBool)


def plain(tree: Any) -> Any:
    """``tree`` with a dict for each dataclass and mapping, and a tuple for each named tuple, packed sequences among them.

    Raises Failure ``export_failed`` for what is neither a container, a tensor, nor a number or text of Python.
    """
    if tree is None or isinstance(tree, _LEAVES):
        return tree
    if isinstance(tree, Mapping):
        return {name: plain(item) for name, item in tree.items()}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = [field.name for field in dataclasses.fields(tree) if field.init]
        return {name: plain(getattr(tree, name)) for name in names}
    if isinstance(tree, tuple | list):
        return (list if isinstance(tree, list) else tuple)(map(plain, tree))
    raise Failure(
        "export_failed",
        f"The model takes or gives a {type(tree).__name__}, whose tensors nothing can find without the model file.",
        next_move="Make it a dataclass, or use a tuple, list or dict of tensors; then submit again with resumeFrom set to the "
        "run's folder: nothing is trained again.",
    )


def moulded(tree: Any, like: Any) -> Any:
    """What ``plain`` has made of a tree that was ``like`` this one, as it was."""
    if isinstance(like, PackedSequence):
        return PackedSequence(*tree)
    old = items_of(like)
    if old is None:
        return tree
    new = list(tree.values()) if isinstance(tree, dict) else list(tree)
    return with_items(like, [moulded(item, as_it_was) for item, as_it_was in zip(new, old, strict=True)])


def named(tree: Any) -> dict[str, Tensor]:
    """The tensors of a plain tree, each by its place in it: ``logits``, ``hidden.0``; ``output``, where it is one."""
    return dict(_named(tree, ""))


def _named(tree: Any, place: str) -> list[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        return [(place or "output", tree)]
    items = items_of(tree)
    if items is None:
        return []
    keys = list(tree) if isinstance(tree, dict) else range(len(items))
    begin = place and f"{place}."
    inner = "" if isinstance(tree, dict) or place else "output."
    return [found for key, item in zip(keys, items, strict=True) for found in _named(item, f"{begin}{inner}{key}")]
