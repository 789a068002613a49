"""Figures of an epoch: a mean of batch means is no mean, and an F1 of batches no F1, so all come from whole sums."""

import torch

from schemas.losses import Task
from schemas.metrics import MetricName
from trainer_core.loop.losses import IGNORED
from trainer_core.loop.metrics.class_counts import COUNTED
from trainer_core.loop.metrics.class_figures import BinaryFigures, ClassFigures
from trainer_core.loop.metrics.deferred import Deferred
from trainer_core.loop.metrics.figures import Figures
from trainer_core.loop.metrics.file_figures import FileFigures, ModelFileMetrics
from trainer_core.loop.metrics.score_figures import ScoreFigures
from trainer_core.loop.metrics.value_figures import ValueFigures

__all__ = ["Figures", "build_figures"]


def build_figures(
    task: Task,
    device: torch.device,
    model_file_metrics: ModelFileMetrics | None = None,
    metrics: tuple[MetricName, ...] = (),
    *,
    ignore_index: int = IGNORED,
    classes: int = 0,
) -> Figures:
    """The figures of ``task``: the loss, accuracy or errors, and of validation ``metrics``.

    ``model_file_metrics`` and ``metrics`` are for validation; training passes neither. ``ignore_index`` is the loss's,
    ``classes`` the number of classes in the data, where it is known.
    """
    if task == "regression":
        figures: Figures = ValueFigures(device, metrics)
    else:
        counted = (BinaryFigures if task == "binary" else ClassFigures)(device, ignore_index, metrics, classes)
        needs_scores = not COUNTED.keys() >= set(metrics)
        figures = Deferred(ScoreFigures(counted, device, metrics) if needs_scores else counted, device)
    return FileFigures(figures, model_file_metrics, device) if model_file_metrics else figures
