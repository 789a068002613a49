"""The buffers of a model: what it keeps beside its parameters, such as running statistics."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


@contextmanager
def keeping_buffers(model: nn.Module) -> Iterator[None]:
    """What runs inside may change buffers, and their shapes: afterwards each is as it was. Those without a shape yet (of
    lazy modules) keep what they got, and sparse ones are left alone."""
    before = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if not is_lazy(buffer) and buffer.layout is torch.strided
    ]
    try:
        yield
    finally:
        for module, name, buffer, value in before:
            _put_back(module, name, buffer, value)


def _put_back(module: nn.Module, name: str, buffer: Tensor, value: Tensor) -> None:
    """The same tensor where it still has its shape, for others may hold it too; untouched when it never changed, for not
    every buffer may be written to (an expanded one is many times the same memory)."""
    if buffer.shape != value.shape:
        buffer = value
    elif not torch.equal(buffer, value):
        buffer.detach().copy_(value)
    setattr(module, name, buffer)
