"""Figures of a fitted estimator, under the names that the native engine uses."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, mean_squared_error, r2_score

from schemas.losses import Task
from trainer_core.models.own_figures import read_own_figures
from trainer_core.models.user_code import running

Split = Literal["train", "val"]


@dataclass(frozen=True)
class Scorer:
    """Scores an estimator for ``task``. ``metrics`` of the model file (or None) is for validation."""

    task: Task
    class_count: int
    metrics: Callable[..., Any] | None
    path: Path

    @staticmethod
    def loss_name(estimator: Any, task: Task) -> str:
        """Mean squared error of regressors; of classifiers the log loss of ``predict_proba``, or, without it, the share of
        wrong predictions."""
        if task == "regression":
            return "mse"
        return "log_loss" if hasattr(estimator, "predict_proba") else "zero_one"

    def score(self, estimator: Any, inputs: NDArray, targets: NDArray, split: Split) -> dict[str, float]:
        """``trainLoss``, ``trainAccuracy`` ...; what is not finite is left out. Validation adds F1, R² and errors."""
        with running(self.path, "model_invalid", f"predicting with {type(estimator).__name__}"):
            predicted = estimator.predict(inputs)
            outputs = estimator.predict_proba(inputs) if hasattr(estimator, "predict_proba") else predicted
        if self.task == "regression":
            figures = _regression(targets, predicted, split)
        else:
            figures = self._classification(estimator, targets, predicted, outputs, split)
        if split == "val" and self.metrics is not None:
            figures |= self._own(outputs, targets)
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def _classification(
        self, estimator: Any, targets: NDArray, predicted: NDArray, outputs: NDArray, split: Split
    ) -> dict[str, float]:
        accuracy = float(accuracy_score(targets, predicted))
        loss = 1.0 - accuracy if outputs is predicted else self._log_loss(estimator, targets, outputs)
        figures = {f"{split}Loss": loss, f"{split}Accuracy": accuracy}
        if split == "val":
            average = "binary" if self.task == "binary" else "macro"
            figures["valF1"] = float(f1_score(targets, predicted, average=average, zero_division=0))
        return figures

    def _log_loss(self, estimator: Any, targets: NDArray, probabilities: NDArray) -> float:
        """A class that the training samples lack has probability 0 (clipped, as in ``sklearn.metrics.log_loss``)."""
        known = np.asarray(estimator.classes_, dtype=np.int64)
        count = max(self.class_count, int(known.max()) + 1, int(targets.max()) + 1)
        spread = np.zeros((len(targets), count))
        spread[:, known] = probabilities
        # In float32 their sum is not quite 1, which scikit-learn takes for a mistake.
        spread /= spread.sum(axis=1, keepdims=True)
        return float(log_loss(targets, spread, labels=np.arange(count)))

    def _own(self, outputs: NDArray, targets: NDArray) -> dict[str, float]:
        """``metrics(outputs, targets)`` of the model file: ``f1_macro`` becomes ``valF1Macro``."""
        assert self.metrics is not None
        return read_own_figures(self.metrics(outputs, targets), "val")


def _regression(targets: NDArray, predicted: NDArray, split: Split) -> dict[str, float]:
    squared = float(mean_squared_error(targets, predicted))
    return {
        f"{split}Loss": squared,
        f"{split}R2": float(r2_score(targets, predicted)) if len(targets) > 1 else math.nan,
        f"{split}Mae": float(mean_absolute_error(targets, predicted)),
        f"{split}Rmse": math.sqrt(squared),
    }
