"""Figures of a fitted estimator, under the names that the native engine uses."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.losses import Task
from schemas.metrics import MetricName, metric_named
from trainer_core.epochs.chosen_metrics import explain, said
from trainer_core.estimators.metrics import CLASSES, VALUES, Judged
from trainer_core.models.own_figures import read_own_figures
from trainer_core.models.user_code import running

Split = Literal["train", "val"]

_USUAL_VALUES: tuple[MetricName, ...] = ("r2", "mean_absolute_error", "root_mean_squared_error")


@dataclass
class Scorer:
    """Scores an estimator for ``task``: of validation also ``metrics``, and ``own``, those of the model file (or None).

    ``omitted`` says why figures of the latest validation are left out; it is empty while there is no reason.
    """

    task: Task
    class_count: int
    metrics: tuple[MetricName, ...]
    own: Callable[..., Any] | None
    path: Path
    omitted: str = field(default="", init=False)

    @staticmethod
    def loss_name(estimator: Any, task: Task) -> str:
        """Mean squared error of regressors; of classifiers the log loss of ``predict_proba``, or, without it, the share of
        wrong predictions."""
        if task == "regression":
            return "mse"
        return "log_loss" if hasattr(estimator, "predict_proba") else "zero_one"

    def score(self, estimator: Any, inputs: NDArray, targets: NDArray, split: Split) -> dict[str, float]:
        """``trainLoss``, ``trainAccuracy`` ...; what is not finite is left out. Validation adds the metrics."""
        with running(self.path, "model_invalid", f"predicting with {type(estimator).__name__}"):
            predicted = estimator.predict(inputs)
            outputs = estimator.predict_proba(inputs) if hasattr(estimator, "predict_proba") else None
            decided = _decide(estimator, inputs) if outputs is None and split == "val" else None
        judged = self._judge(estimator, targets, predicted, outputs, decided)
        figures = _regression(judged, split) if self.task == "regression" else _classification(judged, split)
        if split == "val":
            figures |= self._measure(judged)
            figures |= self._own(predicted if outputs is None else outputs, targets)
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def _judge(
        self, estimator: Any, targets: NDArray, predicted: NDArray, outputs: NDArray | None, decided: NDArray | None
    ) -> Judged:
        if self.task == "regression":
            return Judged(targets, predicted)
        scores, absent = (outputs, 0.0) if outputs is not None else (decided, float(np.finfo(np.float64).min))
        spread = None if scores is None else self._spread(estimator, targets, scores, absent)
        if outputs is not None and spread is not None:
            # In float32 their sum is not quite 1, which scikit-learn takes for a mistake.
            spread /= spread.sum(axis=1, keepdims=True)
        return Judged(targets, predicted, spread, outputs is not None, finds_one=self.task == "binary")

    def _spread(self, estimator: Any, targets: NDArray, scores: NDArray, absent: float) -> NDArray:
        """Scores (N, C) of all classes; one that the training samples lack has ``absent``."""
        known = np.asarray(estimator.classes_, dtype=np.int64)
        count = max(self.class_count, int(known.max()) + 1, int(targets.max()) + 1)
        spread = np.full((len(targets), count), absent)
        spread[:, known] = scores
        return spread

    def _measure(self, judged: Judged) -> dict[str, float]:
        """The metrics that are defined; ``omitted`` says of the others why."""
        functions = VALUES if self.task == "regression" else CLASSES
        found = {name: functions[name](judged) for name in self.metrics}
        self.omitted = self._explain([name for name, value in found.items() if not math.isfinite(value)], judged)
        return {metric_named(name).row_name: value for name, value in found.items()}

    def _explain(self, missing: list[MetricName], judged: Judged) -> str:
        if missing and self.task == "regression":
            return f"{said(missing)}: the held-out targets do not vary"
        if judged.one_class or not missing:
            return explain(missing, one_class=True)
        if judged.scores is None or not judged.probabilities:
            return f"{said(missing)}: the estimator has no predict_proba"
        return f"{said(missing)}: of {judged.scores.shape[1]} classes that many guesses are always right"

    def _own(self, outputs: NDArray, targets: NDArray) -> dict[str, float]:
        """``metrics(outputs, targets)`` of the model file: ``f1_macro`` becomes ``valF1Macro``."""
        return {} if self.own is None else read_own_figures(self.own(outputs, targets), "val")


def _decide(estimator: Any, inputs: NDArray) -> NDArray | None:
    """The decision function as a column (N, C) for each class; None where there is none, or it is of pairs of classes."""
    if not hasattr(estimator, "decision_function"):
        return None
    values = np.asarray(estimator.decision_function(inputs))
    values = np.stack((-values, values), axis=1) if values.ndim == 1 else values
    return values if values.shape[1] == len(estimator.classes_) else None


def _classification(judged: Judged, split: Split) -> dict[str, float]:
    accuracy = CLASSES["accuracy"](judged)
    loss = judged.log_loss() if judged.probabilities else 1.0 - accuracy
    return {f"{split}Loss": loss, f"{split}Accuracy": accuracy}


def _regression(judged: Judged, split: Split) -> dict[str, float]:
    usual = {f"{split}{metric_named(name).figure}": VALUES[name](judged) for name in _USUAL_VALUES}
    return {f"{split}Loss": VALUES["mean_squared_error"](judged), **usual}
