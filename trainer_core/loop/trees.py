"""Inputs, targets and outputs: tensors, or tuples, lists, dicts and dataclasses of them."""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from trainer_core.failure import Failure


def call(network: nn.Module, inputs: Any) -> Any:
    """The output of ``network``: a dict of inputs is passed by name, a tuple by position; packed sequences are one input."""
    if isinstance(inputs, tuple | list) and not isinstance(inputs, PackedSequence):
        return network(*inputs)
    # The test for a mapping is the slow one.
    return network(**inputs) if not isinstance(inputs, Tensor) and isinstance(inputs, Mapping) else network(inputs)


def items_of(tree: Any) -> list[Any] | None:
    """What ``tree`` holds, in order; None for what is no tree: a tensor, and whatever else stands where one could.

    Of packed sequences the sizes are none of it: they stay where they are, on the CPU.
    """
    if isinstance(tree, Tensor):
        return None
    if isinstance(tree, PackedSequence):
        return [tree.data, tree.sorted_indices, tree.unsorted_indices]
    if isinstance(tree, tuple | list):
        return list(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [getattr(tree, name) for name in _fields(tree)]
    return list(tree.values()) if isinstance(tree, Mapping) else None


def with_items(tree: Any, items: list[Any]) -> Any:
    """``tree`` with ``items`` where ``items_of`` found its own: of the same class where that is a dataclass, a named tuple or
    a mapping that can be copied, else a plain list, tuple or dict."""
    if isinstance(tree, PackedSequence):
        data, in_order, as_given = items
        return PackedSequence(data, tree.batch_sizes, in_order, as_given)
    if isinstance(tree, list):
        return items
    if isinstance(tree, tuple):
        return getattr(type(tree), "_make", tuple)(items)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return dataclasses.replace(tree, **dict(zip(_fields(tree), items, strict=True)))
    named = dict(zip(tree, items, strict=True))
    if type(tree) is dict or not hasattr(tree, "__setitem__"):
        return named
    made = copy.copy(tree)
    for key, item in named.items():
        made[key] = item
    return made


def _fields(tree: Any) -> list[str]:
    """Those that the constructor of a dataclass takes."""
    return [field.name for field in dataclasses.fields(tree) if field.init]


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """``tree`` with ``function`` applied to all that it holds; itself where nothing changes."""
    items = items_of(tree)
    if items is None:
        return function(tree)
    made = [map_leaves(function, item) for item in items]
    if not isinstance(tree, list) and all(new is old for new, old in zip(made, items, strict=True)):
        return tree
    return with_items(tree, made)


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """``tree`` with ``function`` applied to each tensor; all else stays."""
    if isinstance(tree, Tensor):
        return function(tree)
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def leaves(tree: Any) -> list[Any]:
    """What ``tree`` holds, in order: its tensors, and whatever else stands where one could."""
    items = items_of(tree)
    return [tree] if items is None else [leaf for item in items for leaf in leaves(item)]


def as_tensors(tree: Any) -> Any:
    """``tree`` with each array as the tensor of the same memory (a copy where the array may not be written)."""
    return map_leaves(_as_tensor, tree)


def _as_tensor(leaf: Any) -> Any:
    if not isinstance(leaf, np.ndarray):
        return leaf
    return torch.from_numpy(leaf if leaf.flags.writeable else leaf.copy())


def shapes(tree: Any) -> str:
    """The shapes in ``tree``, for a message: ``[32, 20]``, ``{ids: [32, 16], mask: [32, 16]}``."""
    if isinstance(tree, Tensor):
        # What torch's own attention makes of padded sequences has no one shape, and raises when asked.
        return "[nested]" if tree.is_nested else str(list(tree.shape))
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{key}: {shapes(item)}" for key, item in tree.items()) + "}"
    items = items_of(tree)
    return type(tree).__name__ if items is None else "(" + ", ".join(map(shapes, items)) + ")"


def types(tree: Any) -> str:
    """The types in ``tree``, each once, for a message: ``float32 and int64``."""
    names = (str(leaf.dtype).removeprefix("torch.") for leaf in leaves(tree) if isinstance(leaf, Tensor))
    return " and ".join(dict.fromkeys(names))


def count_samples(tree: Any) -> int:
    """Samples in ``tree``: the length of the first axis of its first tensor."""
    if isinstance(tree, Tensor):
        return tree.shape[0] if tree.ndim else 1
    items: Sequence[Any] = items_of(tree) or ()
    if not items:
        message = f"Targets of type {type(tree).__name__} cannot be counted: a tensor was expected."
        next_move = "Let the data set's items, or collate, give the targets as a tensor."
        raise Failure("data_invalid", message, next_move=next_move)
    return count_samples(items[0])
