"""Which metrics an evaluation computes, and how those are spoken of that it cannot."""

from collections.abc import Sequence
from difflib import get_close_matches

from schemas.losses import Task
from schemas.metrics import (
    METRICS,
    MetricEntry,
    MetricName,
    figures_of,
    metric_named,
    metric_of,
    tasks_of_figure,
    usual_metrics,
)
from schemas.problems import PatchOperation
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.failure import Failure

POINTER = "/trainingConfig/metrics"


def choose_metrics(request: TrainingRequest, task: Task, class_count: int, *, has_own: bool) -> tuple[MetricName, ...]:
    """What a run of ``task`` is measured by: what is usual, what the request names, and what it watches.

    ``class_count`` is 0 where nobody knows it; ``has_own`` says that the model file has figures of its own, of any name.
    Raises Failure ``input_invalid``, with a fix, for a metric of another task and for a figure to watch that no run of
    ``task`` has.
    """
    named = request.training_config.metrics
    fitting = [name for name in named if task in metric_named(name).tasks]
    if len(fitting) < len(named):
        raise _of_another_task(next(metric_named(name) for name in named if name not in fitting), task, fitting)
    watched = [_watched(pointer, figure, task, has_own) for pointer, figure in _monitors(request)]
    wanted = {*usual_metrics(task, class_count), *named, *watched}
    return tuple(entry.name for entry in METRICS if entry.name in wanted)


def _of_another_task(entry: MetricEntry, task: Task, fitting: list[MetricName]) -> Failure:
    return Failure(
        "input_invalid",
        f"{entry.name} is a metric of {' and '.join(entry.tasks)}, and this task is {task}; "
        f"there are: {', '.join(other.name for other in METRICS if task in other.tasks)}.",
        next_move="Drop the metric, or set trainingConfig.task.",
        place=Place(pointer=POINTER),
        fix=[PatchOperation(op="replace", path=POINTER, value=fitting)],
    )


def _monitors(request: TrainingRequest) -> list[tuple[str, str]]:
    """Pointers to the figures that decisions watch, and these."""
    stopping = request.training_config.early_stopping
    places = [
        ("/checkpointConfig/monitor", request.checkpoint_config.monitor),
        ("/trainingConfig/earlyStopping/monitor", None if stopping is None else stopping.monitor),
    ]
    return [(pointer, figure) for pointer, figure in places if figure is not None]


def _watched(pointer: str, figure: str, task: Task, has_own: bool) -> MetricName | None:
    """The metric that is watched as ``figure``; None for what is there anyway, and for what only the model file can compute,
    whose figures are of validation alone."""
    entry = metric_of(figure)
    if entry is not None and task in entry.tasks:
        return entry.name
    tasks = tasks_of_figure(figure)
    if task in tasks or (has_own and figure.startswith("val")):
        return None
    what = (
        f"{figure} is a figure of {' and '.join(tasks)}, and this task is {task}" if tasks else f"No run has {figure}"
    )
    names = figures_of([task])
    raise Failure(
        "input_invalid",
        f"{what}; there are: {', '.join(names)}.",
        next_move="Watch a figure of this task, set trainingConfig.task, or let metrics(outputs, targets) of the model file "
        "compute it.",
        place=Place(pointer=pointer),
        fix=[PatchOperation(op="replace", path=pointer, value=_near(figure, names))],
    )


def _near(figure: str, names: list[str]) -> str:
    """The figure among ``names`` that is spelt nearly so, of the same split; else that split's loss."""
    split = "train" if figure.startswith("train") else "val"
    return next(
        iter(get_close_matches(figure, [name for name in names if name.startswith(split)], n=1)), f"{split}Loss"
    )


def said(names: Sequence[MetricName]) -> str:
    """``valAuroc and valMcc``."""
    figures = [metric_named(name).row_name for name in names]
    return " and ".join(filter(None, (", ".join(figures[:-1]), *figures[-1:])))


def explain(names: Sequence[MetricName], one_class: bool) -> str:
    """Why the metrics of a classification called ``names`` have no value; empty without names."""
    if not names:
        return ""
    cause = "the held-out targets are of one class only" if one_class else "an output is not finite"
    return f"{said(names)}: {cause}"
