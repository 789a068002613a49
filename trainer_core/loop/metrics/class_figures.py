"""Accuracy and F1, from the counts of each class."""

import math
from typing import Any

import torch
from torch import Tensor

from trainer_core.loop.alignment import align_classes, align_values, one_tensor
from trainer_core.loop.metrics.figures import Figures, Split, check_width, finite, widen
from trainer_core.loop.ranks import Ranks


class ClassFigures(Figures):
    """Accuracy and macro F1 of classification.

    Kept per class are hits, predictions and targets, (3, C): all of a confusion matrix that these figures need.
    Targets equal to ``ignore_index``, or that are no class, are not counted. Macro F1 is the mean over the classes
    that occur among predictions or targets, as in ``sklearn.metrics.f1_score(average="macro")``.
    """

    def __init__(self, device: torch.device, ignore_index: int) -> None:
        super().__init__(device)
        self._ignore_index = ignore_index
        self._counts = self._zeros(3, 0)

    def _add(self, output: Any, targets: Any) -> None:
        predicted, wanted, classes = self._read(one_tensor(output, "outputs").detach(), one_tensor(targets, "targets"))
        check_width(self._counts, classes)
        if self._counts.shape[1] == 0:
            self._counts = self._zeros(3, classes)
        counted = (wanted != self._ignore_index) & (wanted >= 0) & (wanted < classes)
        weight = counted.to(self._dtype)
        wanted = torch.where(counted, wanted, 0)
        self._counts[0].index_add_(0, wanted, weight * (predicted == wanted))
        self._counts[1].index_add_(0, predicted, weight)
        self._counts[2].index_add_(0, wanted, weight)

    def _read(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, int]:
        """Predicted and wanted classes, (M,) each, and the number of classes."""
        if targets.is_floating_point() and targets.shape == output.shape and output.ndim > 1:
            targets = targets.argmax(dim=1)
        logits, wanted = align_classes(output, targets)
        return logits.argmax(dim=1), wanted.long(), logits.shape[1]

    def merge(self, ranks: Ranks) -> None:
        """Sum over the ranks."""
        super().merge(ranks)
        self._counts = widen(self._counts, ranks)
        ranks.sum([self._counts])

    def compute(self, prefix: Split) -> dict[str, float]:
        """Loss, accuracy, and F1 of validation."""
        hits, predictions, targets = self._counts.cpu()
        number = 0.0 if self.omitted else float(targets.sum())
        figures = {f"{prefix}Accuracy": float(hits.sum()) / number if number else math.nan}
        if prefix == "val" and number:
            figures["valF1"] = self._f1(2 * hits / (predictions + targets))
        return super().compute(prefix) | finite(figures)

    def _f1(self, by_class: Tensor) -> float:
        """The mean; a class that does not occur is 0 / 0 in ``by_class``."""
        return float(by_class.nanmean())

    def state(self) -> dict[str, Tensor]:
        """Sums and counts."""
        return super().state() | {"counts": self._counts.to("cpu", copy=True)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state``."""
        super().restore(state)
        self._counts = self._take(state, "counts", 3, 0)


class BinaryFigures(ClassFigures):
    """Accuracy with the boundary at logit 0, and F1 of the positive class. Several labels per sample are pooled."""

    def _read(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, int]:
        logits, wanted = align_values(output, targets)
        return (logits > 0).flatten().long(), (wanted > 0.5).flatten().long(), 2

    def _f1(self, by_class: Tensor) -> float:
        return float(by_class[1])
