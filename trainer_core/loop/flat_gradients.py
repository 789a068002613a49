"""The gradients of a small model in one piece of memory, so that what is done to all of them is one call and not one for each.

Backward passes add to views of it. Torch gives a parameter that took no part in a pass no gradient, and its optimizers leave
it alone; a view of zeros would move it (momentum, weight decay). So a view that no pass has written to is taken away before
anybody looks, and given back for the next step: by its version, which torch counts up at each write.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from trainer_core.loop.gradients import Gradients

# Numbers in all gradients: 4 MiB of float32. Beyond, the arithmetic is what costs, and memory that is never given back.
_LARGEST = 2**20


class FlatGradients(Gradients):
    """Gradients of ``parameters`` on one device, of one type, contiguous. One that somebody else has set, as the first pass
    of a process does, is copied in: a run that goes on in another process sums in the same order. Where there is none, the
    way of ``Gradients`` is taken for that step."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__(parameters)
        sizes = [parameter.numel() for parameter in self._parameters]
        self._all = self._parameters[0].detach().new_zeros(sum(sizes))
        # Not views that autograd knows of: each counts its own writes.
        parts = [part.data for part in torch.split(self._all, sizes)]
        views = [part.view_as(parameter) for part, parameter in zip(parts, self._parameters, strict=True)]
        self._pairs = list(zip(self._parameters, views, strict=True))
        self._versions = [view._version for view in views]
        self._complete = False

    def make_mean(self, samples: int, count: Tensor) -> None:
        """As that of ``Gradients``; the first look at them after the passes of a step."""
        self._settle()
        super().make_mean(samples, count)

    def _settle(self) -> None:
        """Take away the views that no pass has written to, and take in what stands elsewhere."""
        self._complete = True
        for number, (parameter, view) in enumerate(self._pairs):
            gradient = parameter.grad
            if gradient is view and view._version == self._versions[number]:
                parameter.grad = gradient = None
            if gradient is None:
                self._complete = False
                continue
            if gradient is not view:
                view.copy_(gradient)
                parameter.grad = view

    def norm(self) -> Tensor:
        """The 2-norm of all together, a scalar on their device; 0 without any."""
        if not self._complete:
            return super().norm()
        norm: Tensor = torch.linalg.vector_norm(self._all)
        return norm

    def scale(self, factor: Tensor) -> None:
        """Multiply all by the scalar ``factor``, in place."""
        if self._complete:
            self._all.mul_(factor.to(self._all.dtype))
        else:
            super().scale(factor)

    def bound(self, largest: float) -> None:
        """Clamp each element to [-largest, largest], in place."""
        if self._complete:
            self._all.clamp_(-largest, largest)
        else:
            super().bound(largest)

    def clear(self) -> None:
        """Let the next pass find zeros to add to. What was written since the passes before (by scaling, by a scaler) is no
        gradient of it."""
        self._complete = False
        self._all.zero_()
        self._versions = [view._version for _, view in self._pairs]
        for parameter, view in self._pairs:
            if parameter.grad is not view:
                parameter.grad = view


def build_gradients(parameters: Iterable[Tensor]) -> Gradients:
    """Flat where that pays and fits: few numbers, on a CPU, all of one type and contiguous (fused optimizers walk raw memory,
    so a gradient must lie as its parameter does)."""
    found = list(parameters)
    alike = len({parameter.dtype for parameter in found}) == 1 and all(
        parameter.device.type == "cpu" and parameter.is_floating_point() and parameter.is_contiguous()
        for parameter in found
    )
    return (
        FlatGradients(found)
        if alike and sum(parameter.numel() for parameter in found) <= _LARGEST
        else Gradients(found)
    )
