"""Figures of an epoch: a mean of batch means is no mean, and an F1 of batches no F1, so all come from whole sums."""

import torch

from schemas.losses import Task
from trainer_core.loop.losses import IGNORED
from trainer_core.loop.metrics.class_figures import BinaryFigures, ClassFigures
from trainer_core.loop.metrics.deferred import Deferred
from trainer_core.loop.metrics.figures import Figures
from trainer_core.loop.metrics.file_figures import FileFigures, ModelFileMetrics
from trainer_core.loop.metrics.value_figures import ValueFigures

__all__ = ["Figures", "build_figures"]


def build_figures(
    task: Task, device: torch.device, model_file_metrics: ModelFileMetrics | None, *, ignore_index: int = IGNORED
) -> Figures:
    """The figures of ``task``: loss and accuracy (and, validated, F1), or loss, R², MAE and RMSE.

    ``model_file_metrics`` is for the figures of validation; training passes None. ``ignore_index`` is the loss's.
    """
    if task == "regression":
        figures: Figures = ValueFigures(device)
    else:
        classes = BinaryFigures if task == "binary" else ClassFigures
        figures = Deferred(classes(device, ignore_index), device)
    return FileFigures(figures, model_file_metrics, device) if model_file_metrics else figures
