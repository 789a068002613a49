"""The metrics of validation by name, from scikit-learn's own functions."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from schemas.metrics import MetricName


@dataclass(frozen=True)
class Judged:
    """Targets (N,) or (N, D), what was predicted for them, and of classifiers the ``scores`` (N, C), which are
    ``probabilities`` or, where the estimator has none, its decision function; None where it has neither.

    ``finds_one``: of two classes the second is the one to be found. A metric that is not defined is NaN.
    """

    targets: NDArray
    predicted: NDArray
    scores: NDArray | None = None
    probabilities: bool = False
    finds_one: bool = False

    @property
    def one_class(self) -> bool:
        """Whether the targets are of one class."""
        return len(np.unique(self.targets)) == 1

    def averaged(self, function: Callable[..., Any], average: str) -> float:
        """Precision, recall or F1; ``plain`` is of the class to be found, which must be there, or else macro."""
        if average == "plain" and self.finds_one:
            if not (self.targets == 1).any():
                return math.nan
            average = "binary"
        average = "macro" if average == "plain" else average
        return float(function(self.targets, self.predicted, average=average, zero_division=0))

    def mean_recall(self) -> float:
        """Balanced accuracy."""
        return float(sklearn_metrics.recall_score(self.targets, self.predicted, average="macro", labels=self.occurring))

    @property
    def occurring(self) -> list[int]:
        """The classes among the targets."""
        return [int(number) for number in np.unique(self.targets)]

    def correlation(self) -> float:
        """Matthews' coefficient."""
        return math.nan if self.one_class else float(sklearn_metrics.matthews_corrcoef(self.targets, self.predicted))

    def area(self, function: Callable[..., Any]) -> float:
        """The mean of ``function`` over the classes that occur, each against the rest; or of the class to be found."""
        if self.scores is None or self.one_class:
            return math.nan
        classes = [1] if self.finds_one else self.occurring
        return float(np.mean([function(self.targets == number, self.scores[:, number]) for number in classes]))

    def top(self, guesses: int) -> float:
        """Accuracy of the best ``guesses``; undefined where that many are always right."""
        if self.scores is None or guesses >= self.scores.shape[1]:
            return math.nan
        labels = np.arange(self.scores.shape[1])
        return float(sklearn_metrics.top_k_accuracy_score(self.targets, self.scores, k=guesses, labels=labels))

    def log_loss(self) -> float:
        """Mean of -log p of the target, p not below the smallest step from 0 (``sklearn.metrics.log_loss``)."""
        if self.scores is None or not self.probabilities:
            return math.nan
        labels = np.arange(self.scores.shape[1])
        return float(sklearn_metrics.log_loss(self.targets, self.scores, labels=labels))

    def explained(self, function: Callable[..., Any]) -> float:
        """The mean of ``function`` (R², explained variance) over the outputs that vary."""
        varying = np.atleast_1d(np.ptp(self.targets, axis=0) > 0)
        if not varying.any():
            return math.nan
        shares = function(self.targets, self.predicted, multioutput="raw_values", force_finite=False)
        return float(np.mean(shares[varying]))

    def error(self, function: Callable[..., Any]) -> float:
        """The mean of an error over all values."""
        return float(function(self.targets, self.predicted))


CLASSES: Mapping[MetricName, Callable[[Judged], float]] = {
    "accuracy": lambda judged: float(sklearn_metrics.accuracy_score(judged.targets, judged.predicted)),
    "balanced_accuracy": Judged.mean_recall,
    "top_2_accuracy": lambda judged: judged.top(2),
    "top_3_accuracy": lambda judged: judged.top(3),
    "top_5_accuracy": lambda judged: judged.top(5),
    "top_10_accuracy": lambda judged: judged.top(10),
    "precision": lambda judged: judged.averaged(sklearn_metrics.precision_score, "plain"),
    "precision_macro": lambda judged: judged.averaged(sklearn_metrics.precision_score, "macro"),
    "precision_weighted": lambda judged: judged.averaged(sklearn_metrics.precision_score, "weighted"),
    "recall": lambda judged: judged.averaged(sklearn_metrics.recall_score, "plain"),
    "recall_macro": lambda judged: judged.averaged(sklearn_metrics.recall_score, "macro"),
    "recall_weighted": lambda judged: judged.averaged(sklearn_metrics.recall_score, "weighted"),
    "f1": lambda judged: judged.averaged(sklearn_metrics.f1_score, "plain"),
    "f1_macro": lambda judged: judged.averaged(sklearn_metrics.f1_score, "macro"),
    "f1_weighted": lambda judged: judged.averaged(sklearn_metrics.f1_score, "weighted"),
    "matthews_corrcoef": Judged.correlation,
    "roc_auc": lambda judged: judged.area(sklearn_metrics.roc_auc_score),
    "average_precision": lambda judged: judged.area(sklearn_metrics.average_precision_score),
    "log_loss": Judged.log_loss,
}

VALUES: Mapping[MetricName, Callable[[Judged], float]] = {
    "r2": lambda judged: judged.explained(sklearn_metrics.r2_score),
    "explained_variance": lambda judged: judged.explained(sklearn_metrics.explained_variance_score),
    "mean_absolute_error": lambda judged: judged.error(sklearn_metrics.mean_absolute_error),
    "mean_squared_error": lambda judged: judged.error(sklearn_metrics.mean_squared_error),
    "root_mean_squared_error": lambda judged: math.sqrt(judged.error(sklearn_metrics.mean_squared_error)),
}
