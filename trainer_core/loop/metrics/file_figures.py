"""The model file's own figures, computed once from all outputs of a validation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainer_core.failure import Failure
from trainer_core.loop.metrics.figures import Figures, Split, finite
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.trees import items_of, leaves, map_tensors, with_items
from trainer_core.models.own_figures import read_own_figures

ModelFileMetrics = Callable[[Any, Any], Any]

# 256 MiB of float32.
MOST_ELEMENTS = 2**26


class FileFigures(Figures):
    """The figures of ``inner``, and what ``metrics(outputs, targets)`` of the model file makes of all outputs.

    Outputs are of the class that the model returns. They and targets wait on the CPU, at most ``most_elements`` numbers on each rank: beyond that the model
    file's figures are left out rather than computed from a part. For validation only.
    """

    def __init__(
        self, inner: Figures, metrics: ModelFileMetrics, device: torch.device, most_elements: int = MOST_ELEMENTS
    ) -> None:
        super().__init__(device)
        self._inner = inner
        self._metrics = metrics
        self._most_elements = most_elements
        self._batches: list[Any] = []
        self._elements = 0
        self._too_many = ""

    def update(self, output: Any, targets: Any, loss_sum: Tensor, count: Tensor) -> None:
        """Add one batch and keep its outputs."""
        self._inner.update(output, targets, loss_sum, count)
        batch = _to_cpu((output, targets))
        self._elements += _size(batch)
        if self._elements > self._most_elements:
            self._too_many = f"outputs and targets are more than {self._most_elements} numbers; metrics() is left out"
            self._batches = []
        else:
            self._batches.append(batch)
        self.omitted = self._too_many or self._inner.omitted

    def merge(self, ranks: Ranks) -> None:
        """Merge the inner figures; bring the outputs of all ranks together, rank after rank."""
        self._inner.merge(ranks)
        parts = ranks.gather((self._too_many, self._batches))
        self._too_many = next((reason for reason, _ in parts if reason), "")
        self._batches = [batch for _, batches in parts for batch in batches]
        self.omitted = self._too_many or self._inner.omitted

    def compute(self, prefix: Split) -> dict[str, float]:
        """The inner figures, and the model file's under ``prefix``: ``f1_macro`` becomes ``valF1Macro``.

        Raises Failure ``model_invalid`` when ``metrics`` returns anything but names and numbers.
        """
        figures = self._inner.compute(prefix)
        self.omitted = self._too_many or self._inner.omitted
        if self._too_many or not self._batches:
            return figures
        try:
            outputs, targets = _concatenate(self._batches)
        except Failure as failure:
            self.omitted = str(failure)
            return figures
        return figures | finite(read_own_figures(self._metrics(outputs, targets), prefix))

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state``; outputs are not kept in it."""
        self._inner.restore(state)
        self._batches, self._elements, self._too_many = [], 0, ""

    def state(self) -> dict[str, Tensor]:
        """The inner sums."""
        return self._inner.state()

    def reset(self) -> None:
        """Begin afresh."""
        self._inner.reset()
        super().reset()


def _to_cpu(tree: Any) -> Any:
    return map_tensors(lambda tensor: tensor.detach().to("cpu", copy=True), tree)


def _size(tree: Any) -> int:
    return sum(leaf.numel() for leaf in leaves(tree) if isinstance(leaf, Tensor))


def _concatenate(batches: list[Any]) -> Any:
    """One tree of the form of each of ``batches``, with their tensors one after another; what is no tensor is a list of what
    each had. Raises Failure ``model_invalid`` where they are not of one form."""
    first = batches[0]
    if isinstance(first, Tensor):
        if any(batch.shape[1:] != first.shape[1:] for batch in batches):
            raise _of_several_forms("shape")
        return torch.cat([batch.reshape(-1) if batch.ndim == 0 else batch for batch in batches])
    parts = [items_of(batch) for batch in batches]
    held = [part for part in parts if part is not None]
    if not held:
        return None if all(batch is None for batch in batches) else batches
    if len({len(part) for part in held}) > 1 or len(held) < len(parts):
        raise _of_several_forms("number")
    return with_items(first, [_concatenate(list(column)) for column in zip(*held, strict=True)])


def _of_several_forms(what: str) -> Failure:
    return Failure("model_invalid", f"Outputs or targets differ in {what} from batch to batch; metrics() is left out.")
