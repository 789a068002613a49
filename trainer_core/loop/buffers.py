"""The buffers of a model: what it keeps beside its parameters, such as running statistics."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter, is_

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

_shape = attrgetter("shape")


@dataclass(frozen=True, slots=True)
class _Kept:
    """One buffer, where it hangs, and its value."""

    module: nn.Module
    name: str
    buffer: Tensor
    value: Tensor

    def put_back(self) -> None:
        """The same tensor where it still has its shape, for others may hold it too; untouched when it never changed, for
        not every buffer may be written to (an expanded one is many times the same memory)."""
        buffer = self.buffer
        if buffer.shape != self.value.shape:
            buffer = self.value
        elif not torch.equal(buffer, self.value):
            buffer.detach().copy_(self.value)
        setattr(self.module, self.name, buffer)


class _Buffers:
    """What is ``kept``, a property at a time: it is looked at before every step, and one call of Python for each buffer would take
    longer than to copy it.

    Those of batch normalisation change at every step, some without torch's count of writes: they are copied unseen. Of all
    others only those are that were written to.
    """

    def __init__(self, kept: list[_Kept]) -> None:
        self.kept = kept
        self._places = [each.module._buffers for each in kept]
        self._names = [each.name for each in kept]
        self._buffers = [each.buffer for each in kept]
        self._shapes = list(map(_shape, self._buffers))
        self._statistics = _by_type(each for each in kept if isinstance(each.module, _NormBase))
        self._others = [each for each in kept if not isinstance(each.module, _NormBase)]
        self._versions = self._versions_now()

    @property
    def hang(self) -> bool:
        """Whether each is still its module's, and has its shape."""
        there = map(dict.get, self._places, self._names)
        return all(map(is_, there, self._buffers)) and list(map(_shape, self._buffers)) == self._shapes

    def take(self) -> None:
        """Copy what may have been written to."""
        groups, versions = self._statistics, self._versions_now()
        if versions != self._versions:
            triples = zip(self._others, versions, self._versions, strict=True)
            groups = groups + _by_type(each for each, now, before in triples if now != before)
            self._versions = versions
        with torch.no_grad():
            for values, buffers in groups:
                # One call for all: on a GPU also one kernel.
                torch._foreach_copy_(values, buffers)

    def _versions_now(self) -> list[int]:
        return [each.buffer._version for each in self._others]


def _by_type(kept: Iterable[_Kept]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Values and buffers of each type."""
    groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for each in kept:
        values, buffers = groups.setdefault(each.buffer.dtype, ([], []))
        values.append(each.value)
        buffers.append(each.buffer)
    return list(groups.values())


class KeptBuffers:
    """The values that the buffers of ``model`` had at the latest ``take``. Those without a shape yet (of lazy modules) keep
    what they get, and sparse ones are left alone."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._buffers: _Buffers | None = None

    def take(self) -> None:
        """Keep the values that they have now, without a sync. Only what may have been written to is copied again."""
        if self._buffers is None or not self._buffers.hang:
            self._buffers = _Buffers(_keep(self._model))
        else:
            self._buffers.take()

    def put_back(self) -> None:
        """Give each its value back, and its shape."""
        for kept in [] if self._buffers is None else self._buffers.kept:
            kept.put_back()


def _keep(model: nn.Module) -> list[_Kept]:
    return [
        _Kept(module, name, buffer, buffer.detach().clone())
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
