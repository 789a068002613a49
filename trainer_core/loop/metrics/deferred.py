"""Small batches counted together: for a small model the calls that count a batch cost more than its arithmetic."""

from typing import Any

import torch
from torch import Tensor

from trainer_core.loop.metrics.figures import Figures, Split
from trainer_core.loop.ranks import Ranks

# Numbers in the outputs that wait; 256 KiB of float32.
TOGETHER = 2**16


class Deferred(Figures):
    """The figures of ``inner``, which sees batches in larger pieces; whoever asks sees all of them.

    For counts, which are the same however they are cut (a resumed run asks at other places than one undisturbed), and
    losses, whose sums in float64 of numbers in float32 are as good as exact.
    """

    def __init__(self, inner: Figures, device: torch.device) -> None:
        super().__init__(device)
        self._inner = inner
        self._waiting: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._elements = 0
        self._form: object = None

    def update(self, output: Any, targets: Any, loss_sum: Tensor, count: Tensor) -> None:
        """Add one batch; large ones, and those of another form than the ones that wait, at once."""
        elements = _rows(output) and _rows(targets) and output.numel()
        if not elements or elements >= TOGETHER:
            self._count()
            self._inner.update(output, targets, loss_sum, count)
            return
        form = (output.shape[1:], output.dtype, targets.shape[1:], targets.dtype)
        if form != self._form:
            self._count()
            self._form = form
        # A copy: a compiled model may write its next output into the same memory.
        self._waiting.append((output.detach().clone(), targets, loss_sum.detach(), count.detach()))
        self._elements += elements
        if self._elements >= TOGETHER:
            self._count()

    def _count(self) -> None:
        if not self._waiting:
            return
        outputs, targets, losses, counts = zip(*self._waiting, strict=True)
        self._waiting, self._elements = [], 0
        sums = (torch.stack(numbers).sum(dtype=self._dtype) for numbers in (losses, counts))
        self._inner.update(torch.cat(outputs), torch.cat(targets), *sums)

    def merge(self, ranks: Ranks) -> None:
        """Merge the inner figures."""
        self._count()
        self._inner.merge(ranks)
        self.omitted = self._inner.omitted

    def compute(self, prefix: Split) -> dict[str, float]:
        """The inner figures."""
        self._count()
        figures = self._inner.compute(prefix)
        self.omitted = self._inner.omitted
        return figures

    def reset(self) -> None:
        """Begin afresh."""
        self._inner.reset()
        super().reset()

    def state(self) -> dict[str, Tensor]:
        """The inner sums."""
        self._count()
        return self._inner.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state``; what waited is forgotten."""
        self._waiting, self._elements = [], 0
        self._inner.restore(state)


def _rows(tree: Any) -> bool:
    """Whether ``tree`` is a tensor with samples along its first axis."""
    return isinstance(tree, Tensor) and tree.ndim > 0
