"""What hits, predictions and targets of each class tell: all of a confusion matrix that these metrics need."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from schemas.metrics import MetricName


@dataclass(frozen=True)
class ClassCounts:
    """Numbers by class, (C,) each, in float64 on the CPU: right predictions, predictions, targets.

    ``finds_one``: of two classes the second is the one to be found, and what has no other average is of it alone. Otherwise
    that is the mean over the classes that occur among predictions or targets. Undefined is NaN.
    """

    hits: Tensor
    predictions: Tensor
    targets: Tensor
    finds_one: bool = False

    @property
    def number(self) -> float:
        """Targets in all."""
        return float(self.targets.sum())

    @property
    def one_class(self) -> bool:
        """Whether the targets are of one class."""
        return int((self.targets > 0).sum()) == 1

    def compute(self, name: MetricName) -> float:
        """The metric called ``name``, one of ``COUNTED``."""
        return COUNTED[name](self)

    def precision(self) -> Tensor:
        """By class; 0 where nothing was predicted, as in scikit-learn."""
        return self.hits / self.predictions.clamp(min=1)

    def recall(self) -> Tensor:
        """By class; 0 where there is nothing to find, as in scikit-learn."""
        return self.hits / self.targets.clamp(min=1)

    def f1(self) -> Tensor:
        """By class; 0 where the class does not occur."""
        return 2 * self.hits / (self.predictions + self.targets).clamp(min=1)

    def plain(self, by_class: Tensor) -> float:
        """Of the class to be found, which must be there to be found; else the mean."""
        if not self.finds_one:
            return self.macro(by_class)
        return float(by_class[1]) if self.targets[1] > 0 else math.nan

    def macro(self, by_class: Tensor) -> float:
        """The mean over the classes that occur."""
        return float(by_class[(self.predictions + self.targets) > 0].mean())

    def weighted(self, by_class: Tensor) -> float:
        """The mean over the targets."""
        return float((by_class * self.targets).sum() / self.targets.sum())

    def accuracy(self) -> float:
        """The share of right predictions."""
        return float(self.hits.sum()) / self.number

    def balanced_accuracy(self) -> float:
        """The mean recall of the classes among the targets."""
        return float(self.recall()[self.targets > 0].mean())

    def matthews_corrcoef(self) -> float:
        """Correlation of predictions and targets (Gorodkin 2004, for any number of classes); 0 for one same prediction."""
        number, hits = self.number, float(self.hits.sum())
        together = hits * number - float(self.predictions @ self.targets)
        predicted = number**2 - float(self.predictions @ self.predictions)
        wanted = number**2 - float(self.targets @ self.targets)
        if self.one_class:
            return math.nan
        return together / math.sqrt(predicted * wanted) if predicted > 0 else 0.0


COUNTED: Mapping[MetricName, Callable[[ClassCounts], float]] = {
    "accuracy": ClassCounts.accuracy,
    "balanced_accuracy": ClassCounts.balanced_accuracy,
    "precision": lambda counts: counts.plain(counts.precision()),
    "precision_macro": lambda counts: counts.macro(counts.precision()),
    "precision_weighted": lambda counts: counts.weighted(counts.precision()),
    "recall": lambda counts: counts.plain(counts.recall()),
    "recall_macro": lambda counts: counts.macro(counts.recall()),
    "recall_weighted": lambda counts: counts.weighted(counts.recall()),
    "f1": lambda counts: counts.plain(counts.f1()),
    "f1_macro": lambda counts: counts.macro(counts.f1()),
    "f1_weighted": lambda counts: counts.weighted(counts.f1()),
    "matthews_corrcoef": ClassCounts.matthews_corrcoef,
}
