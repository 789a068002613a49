"""Nested values of tensors, numbers and text as JSON beside a flat dict of tensors; nothing is ever pickled."""

import math
from typing import Any

import torch
from torch import Tensor

from trainer_core.failure import Failure

# A tensor is {"$tensor": key}, with its strides where it is not contiguous; two names of one tensor share a key.
_TENSOR, _STRIDES, _TUPLE, _MAP, _NUMBER = "$tensor", "$strides", "$tuple", "$map", "$number"


class Packer:
    """Turns values into JSON and gathers their ``tensors`` by path (``state/fc.weight/exp_avg``)."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._keys: dict[int, list[str]] = {}

    def pack(self, value: Any, path: str = "") -> Any:
        """``value`` as JSON. Raises TypeError for what is neither tensor, number, text, list, tuple nor dict, Failure
        ``model_invalid`` for a sparse tensor."""
        if isinstance(value, Tensor):
            return self._tensor(value, path)
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {_NUMBER: repr(value)}
        inside = f"{path}/" if path else ""
        if isinstance(value, list | tuple):
            are_plain = _are_plain(value)
            items = (
                list(value) if are_plain else [self.pack(item, f"{inside}{place}") for place, item in enumerate(value)]
            )
            return {_TUPLE: items} if isinstance(value, tuple) else items
        if isinstance(value, dict):
            packed = {key: self.pack(item, f"{inside}{key}") for key, item in value.items()}
            are_names = all(isinstance(key, str) and key[:1] != "$" for key in value)
            return packed if are_names else {_MAP: [[self._plain_key(key, path), item] for key, item in packed.items()]}
        raise TypeError(f"{path}: a {type(value).__name__} cannot be kept in a checkpoint.")

    def _plain_key(self, key: Any, path: str) -> Any:
        """The ``key`` of a dict as JSON. Raises TypeError for one that would come back as another."""
        if isinstance(key, Tensor):
            raise TypeError(f"{path}: a dict with a tensor for a key cannot be kept in a checkpoint.")
        return self.pack(key, path)

    def _tensor(self, tensor: Tensor, path: str) -> dict[str, Any]:
        if tensor.layout != torch.strided:
            raise Failure("model_invalid", f"{path!r} cannot be kept in a checkpoint: it is {tensor.layout}.")
        key = self._key_of(tensor, path)
        # Fused optimizers walk raw memory: their state must come back with the strides of its parameter.
        if tensor.is_contiguous() or torch.empty_like(tensor, device="meta").stride() != tensor.stride():
            return {_TENSOR: key}
        return {_TENSOR: key, _STRIDES: list(tensor.stride())}

    def _key_of(self, tensor: Tensor, path: str) -> str:
        """That under which ``tensor`` is kept; at the same address there may be others, of another shape."""
        address = tensor.data_ptr()
        there = self._keys.setdefault(address, [])
        for key in there:
            # An empty tensor has no address to know it by.
            if address and _identity(self.tensors[key]) == _identity(tensor):
                return key
        key = self._unused(path)
        there.append(key)
        self.tensors[key] = tensor
        return key

    def _unused(self, path: str) -> str:
        """``path``, or a longer key where a name with a slash in it has taken that."""
        return path if path not in self.tensors else self._unused(path + "'")


def _are_plain(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether ``values`` are their own JSON, seen at once: training waits meanwhile, and a generator's state alone is 625 numbers."""
    kinds = set(map(type, values))
    return kinds == {int} or (kinds == {float} and all(map(math.isfinite, values)))


def _identity(tensor: Tensor) -> tuple[object, ...]:
    # A conjugate is the same memory, read another way.
    return tensor.device, tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg()


def unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that was packed; tensors that were one are one again."""
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return _restore_strides(value, tensors)
    if _TUPLE in value:
        return tuple(unpack(item, tensors) for item in value[_TUPLE])
    if _NUMBER in value:
        return float(value[_NUMBER])
    items = value[_MAP] if _MAP in value else value.items()
    return {unpack(key, tensors): unpack(item, tensors) for key, item in items}


def _restore_strides(reference: dict[str, Any], tensors: dict[str, Tensor]) -> Tensor:
    key = reference[_TENSOR]
    tensor = tensors[key]
    strides = tuple(reference.get(_STRIDES, tensor.stride()))
    if tensor.stride() != strides:
        tensors[key] = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)
    return tensors[key]
