"""Figures of classification from the counts of each class."""

from typing import Any

import torch
from torch import Tensor

from schemas.metrics import MetricName, metric_named
from trainer_core.epochs.chosen_metrics import explain
from trainer_core.failure import Failure
from trainer_core.loop.alignment import align_classes, align_values, one_tensor
from trainer_core.loop.metrics.class_counts import COUNTED, ClassCounts
from trainer_core.loop.metrics.figures import Figures, Split, check_width, finite, widen
from trainer_core.loop.ranks import Ranks


class ClassFigures(Figures):
    """Accuracy of classification, and, validated, those of ``metrics`` that counts tell.

    Kept per class are hits, predictions and targets, (3, C): all of a confusion matrix that these figures need.
    Targets equal to ``ignore_index``, or that are no class, are not counted. Outputs narrower than ``classes`` are no scores of
    classes (the model file's own loss makes something else of them), and fit none of these figures.
    """

    finds_one = False

    def __init__(
        self,
        device: torch.device,
        ignore_index: int,
        metrics: tuple[MetricName, ...] = ("accuracy", "f1"),
        classes: int = 0,
    ) -> None:
        super().__init__(device)
        self._classes = classes
        self._ignore_index = ignore_index
        self._metrics = [name for name in metrics if name in COUNTED]
        self._counts = self._zeros(3, 0)

    def _add(self, output: Any, targets: Any) -> None:
        logits, wanted, counted = self.read(one_tensor(output, "outputs").detach(), one_tensor(targets, "targets"))
        predicted, classes = self._predict(logits)
        if classes < self._classes:
            raise Failure(
                "model_invalid",
                f"The model gives {classes} numbers for {self._classes} classes, which are no scores of them.",
                next_move="Let metrics(outputs, targets) of the model file compute what is wanted.",
            )
        check_width(self._counts, classes)
        if self._counts.shape[1] == 0:
            self._counts = self._zeros(3, classes)
        weight = counted.to(self._dtype)
        self._counts[0].index_add_(0, wanted, weight * (predicted == wanted))
        self._counts[1].index_add_(0, predicted, weight)
        self._counts[2].index_add_(0, wanted, weight)

    def read(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (M, C), wanted classes (M,), and which of them count (M,); those that do not are 0."""
        if targets.is_floating_point() and targets.shape == output.shape and output.ndim > 1:
            targets = targets.argmax(dim=1)
        logits, wanted = align_classes(output, targets)
        wanted = wanted.long()
        counted = (wanted != self._ignore_index) & (wanted >= 0) & (wanted < logits.shape[1])
        return logits, torch.where(counted, wanted, 0), counted

    def _predict(self, logits: Tensor) -> tuple[Tensor, int]:
        """Predicted classes (M,), and how many classes there are."""
        return logits.argmax(dim=1), logits.shape[1]

    def merge(self, ranks: Ranks) -> None:
        """Sum over the ranks."""
        super().merge(ranks)
        self._counts = widen(self._counts, ranks)
        ranks.sum([self._counts])

    def tally(self) -> ClassCounts:
        """What was counted. Waits for the device."""
        hits, predictions, targets = self._counts.cpu().double()
        return ClassCounts(hits, predictions, targets, self.finds_one)

    def compute(self, prefix: Split) -> dict[str, float]:
        """Loss and accuracy; of validation all of ``metrics`` that are defined."""
        figures, counts = super().compute(prefix), self.tally()
        if self.misfit or not counts.number:
            return figures
        if prefix == "train":
            return figures | {"trainAccuracy": counts.accuracy()}
        found = {name: counts.compute(name) for name in self._metrics}
        measured = finite({metric_named(name).row_name: value for name, value in found.items()})
        self.omitted = explain([name for name in found if metric_named(name).row_name not in measured], one_class=True)
        return figures | measured

    def state(self) -> dict[str, Tensor]:
        """Sums and counts."""
        return super().state() | {"counts": self._counts.to("cpu", copy=True)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state``."""
        super().restore(state)
        self._counts = self._take(state, "counts", 3, 0)


class BinaryFigures(ClassFigures):
    """Two classes from one output, the boundary at logit 0; the second is the one to be found. Several labels per sample
    are pooled."""

    finds_one = True

    def read(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (M,), wanted classes (M,), of which all count (M,)."""
        logits, wanted = align_values(output, targets)
        wanted = (wanted > 0.5).flatten().long()
        return logits.flatten(), wanted, torch.ones_like(wanted, dtype=torch.bool)

    def _predict(self, logits: Tensor) -> tuple[Tensor, int]:
        return (logits > 0).long(), 2
