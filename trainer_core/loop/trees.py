"""Inputs, targets and outputs: tensors, or tuples, lists and dicts of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainer_core.failure import Failure


def call(network: nn.Module, inputs: Any) -> Any:
    """The output of ``network``: a dict of inputs is passed by name, a tuple by position."""
    if isinstance(inputs, tuple | list):
        return network(*inputs)
    # The test for a mapping is the slow one.
    return network(**inputs) if not isinstance(inputs, Tensor) and isinstance(inputs, Mapping) else network(inputs)


def map_tensors(function: Any, tree: Any) -> Any:
    """``tree`` (tensors in tuples, lists and dicts) with ``function`` applied to each tensor; all else stays."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tensors(function, item) for key, item in tree.items()}
    if isinstance(tree, tuple | list):
        return _rebuilt(tree, [map_tensors(function, item) for item in tree])
    return tree


def leaves(tree: Any) -> list[Any]:
    """What ``tree`` holds, in order: its tensors, and whatever else stands where one could."""
    if isinstance(tree, Mapping):
        return [leaf for item in tree.values() for leaf in leaves(item)]
    if isinstance(tree, tuple | list):
        return [leaf for item in tree for leaf in leaves(item)]
    return [tree]


def as_tensors(tree: Any) -> Any:
    """``tree`` with each array as the tensor of the same memory (a copy where the array may not be written)."""
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(tree if tree.flags.writeable else tree.copy())
    if isinstance(tree, Mapping):
        return {key: as_tensors(item) for key, item in tree.items()}
    if isinstance(tree, tuple | list):
        return _rebuilt(tree, [as_tensors(item) for item in tree])
    return tree


def _rebuilt(sequence: Sequence[Any], items: list[Any]) -> Sequence[Any]:
    """``items`` as a named tuple where ``sequence`` is one, else as a plain list or tuple."""
    if isinstance(sequence, list):
        return items
    make = getattr(type(sequence), "_make", tuple)
    made: Sequence[Any] = make(items)
    return made


def shapes(tree: Any) -> str:
    """The shapes in ``tree``, for a message: ``[32, 20]``, ``{ids: [32, 16], mask: [32, 16]}``."""
    if isinstance(tree, Tensor):
        return str(list(tree.shape))
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{key}: {shapes(item)}" for key, item in tree.items()) + "}"
    if isinstance(tree, tuple | list):
        return "(" + ", ".join(map(shapes, tree)) + ")"
    return type(tree).__name__


def count_samples(tree: Any) -> int:
    """Samples in ``tree``: the length of the first axis of its first tensor."""
    if isinstance(tree, Tensor):
        return tree.shape[0] if tree.ndim else 1
    items = (
        list(tree.values() if isinstance(tree, Mapping) else tree) if isinstance(tree, Mapping | list | tuple) else []
    )
    if not items:
        message = f"Targets of type {type(tree).__name__} cannot be counted: a tensor was expected."
        next_move = "Let the data set's items, or collate, give the targets as a tensor."
        raise Failure("data_invalid", message, next_move=next_move)
    return count_samples(items[0])
