"""The buffers of a model: what it keeps beside its parameters, such as running statistics."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy


@dataclass(slots=True)
class _Kept:
    """One buffer, where it hangs, and its value. ``version`` counts the writes that torch knows of; batch normalisation
    writes without being counted, and is ``uncounted``."""

    module: nn.Module
    name: str
    buffer: Tensor
    value: Tensor
    shape: torch.Size
    version: int
    uncounted: bool

    def put_back(self) -> None:
        """The same tensor where it still has its shape, for others may hold it too; untouched when it never changed, for
        not every buffer may be written to (an expanded one is many times the same memory)."""
        buffer = self.buffer
        if buffer.shape != self.shape:
            buffer = self.value
        elif not torch.equal(buffer, self.value):
            buffer.detach().copy_(self.value)
            self.version = buffer._version
        setattr(self.module, self.name, buffer)


class KeptBuffers:
    """The values that the buffers of ``model`` had at the latest ``take``. Those without a shape yet (of lazy modules) keep
    what they get, and sparse ones are left alone."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._kept: list[_Kept] | None = None

    def take(self) -> None:
        """Keep the values that they have now, without a sync. Only what may have been written to is copied again."""
        if self._kept is None:
            self._kept = _keep(self._model)
            return
        by_type: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        # Before every step, for each buffer: nothing here calls Python, nor looks at a tensor twice.
        for kept in self._kept:
            buffer = kept.buffer
            if kept.module._buffers.get(kept.name) is not buffer or buffer.shape != kept.shape:
                self._kept = _keep(self._model)
                return
            version = buffer._version
            if kept.uncounted or version != kept.version:
                kept.version = version
                values, buffers = by_type.setdefault(buffer.dtype, ([], []))
                values.append(kept.value)
                buffers.append(buffer)
        with torch.no_grad():
            for values, buffers in by_type.values():
                # One call for all: on a GPU also one kernel.
                torch._foreach_copy_(values, buffers)

    def put_back(self) -> None:
        """Give each its value back, and its shape."""
        for kept in self._kept or ():
            kept.put_back()


def _keep(model: nn.Module) -> list[_Kept]:
    return [
        _Kept(
            module, name, buffer, buffer.detach().clone(), buffer.shape, buffer._version, isinstance(module, _NormBase)
        )
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if not is_lazy(buffer) and buffer.layout is torch.strided
    ]


@contextmanager
def keeping_buffers(model: nn.Module) -> Iterator[None]:
    """What runs inside may change buffers, and their shapes: afterwards each is as it was."""
    kept = KeptBuffers(model)
    kept.take()
    try:
        yield
    finally:
        kept.put_back()
