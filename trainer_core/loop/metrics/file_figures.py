"""The model file's own figures, computed once from all outputs of a validation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainer_core.failure import Failure
from trainer_core.loop.metrics.figures import Figures, Split, finite
from trainer_core.loop.ranks import Ranks
from trainer_core.models.own_figures import read_own_figures

ModelFileMetrics = Callable[[Any, Any], Any]

# 256 MiB of float32.
MOST_ELEMENTS = 2**26


class FileFigures(Figures):
    """The figures of ``inner``, and what ``metrics(outputs, targets)`` of the model file makes of all outputs.

    Outputs and targets wait on the CPU, at most ``most_elements`` numbers on each rank: beyond that the model
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


def _to_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _to_cpu(item) for key, item in value.items()}
    return tuple(_to_cpu(item) for item in value) if isinstance(value, list | tuple) else value


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel()
    items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return sum(map(_size, items))


def _concatenate(batches: list[Any]) -> Any:
    first = batches[0]
    if isinstance(first, Tensor):
        if any(batch.shape[1:] != first.shape[1:] for batch in batches):
            raise Failure(
                "model_invalid", "Outputs or targets differ in shape from batch to batch; metrics() is left out."
            )
        return torch.cat([batch.reshape(-1) if batch.ndim == 0 else batch for batch in batches])
    if isinstance(first, dict):
        return {key: _concatenate([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple):
        return tuple(_concatenate([batch[place] for batch in batches]) for place in range(len(first)))
    return batches
