"""Metrics by name: what each is for, under which name an epoch's row holds it, and which way is better."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from schemas.losses import Task

MONITOR_PATTERN = r"^(train|val)[A-Z][A-Za-z0-9]*$"

# Of figures that are in no table: those of a model file.
LOWER_IS_BETTER = ("Loss", "Rmse", "Mae", "Mse")

MetricName = Literal[
    "accuracy",
    "balanced_accuracy",
    "top_2_accuracy",
    "top_3_accuracy",
    "top_5_accuracy",
    "top_10_accuracy",
    "precision",
    "precision_macro",
    "precision_weighted",
    "recall",
    "recall_macro",
    "recall_weighted",
    "f1",
    "f1_macro",
    "f1_weighted",
    "matthews_corrcoef",
    "roc_auc",
    "average_precision",
    "log_loss",
    "r2",
    "explained_variance",
    "mean_absolute_error",
    "mean_squared_error",
    "root_mean_squared_error",
]

# How many classes there must be before the five best guesses say more than the best one.
MANY_CLASSES = 10


@dataclass(frozen=True)
class MetricEntry:
    """One metric of validation: its name, as scikit-learn's ``scoring`` spells it; the ``figure`` that an epoch's row holds
    (``Auroc``: ``valAuroc``); the tasks that it fits, and those that have it without being asked; what it is made from:
    counts and sums, or the scores of all samples, which are kept until the end of an evaluation."""

    name: MetricName
    figure: str
    tasks: tuple[Task, ...]
    usual: tuple[Task, ...] = ()
    aliases: tuple[str, ...] = ()
    better: Literal["min", "max"] = "max"
    needs_scores: bool = False

    @property
    def row_name(self) -> str:
        """The figure's name in an epoch's row."""
        return f"val{self.figure}"


_BOTH: tuple[Task, ...] = ("classification", "binary")
_MULTI: tuple[Task, ...] = ("classification",)
_BINARY: tuple[Task, ...] = ("binary",)
_VALUES: tuple[Task, ...] = ("regression",)

METRICS = (
    MetricEntry("accuracy", "Accuracy", _BOTH, usual=_BOTH, aliases=("acc",)),
    MetricEntry("balanced_accuracy", "BalancedAccuracy", _BOTH, usual=_MULTI, aliases=("bacc",)),
    MetricEntry("top_2_accuracy", "Top2Accuracy", _MULTI, aliases=("top2",)),
    MetricEntry("top_3_accuracy", "Top3Accuracy", _MULTI, aliases=("top3",)),
    MetricEntry("top_5_accuracy", "Top5Accuracy", _MULTI, usual=_MULTI, aliases=("top5", "top_k_accuracy")),
    MetricEntry("top_10_accuracy", "Top10Accuracy", _MULTI, aliases=("top10",)),
    MetricEntry("precision", "Precision", _BOTH, usual=_BINARY, aliases=("precision_score",)),
    MetricEntry("precision_macro", "PrecisionMacro", _BOTH),
    MetricEntry("precision_weighted", "PrecisionWeighted", _BOTH),
    MetricEntry("recall", "Recall", _BOTH, usual=_BINARY, aliases=("recall_score", "sensitivity")),
    MetricEntry("recall_macro", "RecallMacro", _BOTH),
    MetricEntry("recall_weighted", "RecallWeighted", _BOTH),
    MetricEntry("f1", "F1", _BOTH, usual=_BOTH, aliases=("f1_score", "f_score", "dice")),
    MetricEntry("f1_macro", "F1Macro", _BOTH, aliases=("macro_f1",)),
    MetricEntry("f1_weighted", "F1Weighted", _BOTH, aliases=("weighted_f1",)),
    MetricEntry("matthews_corrcoef", "Mcc", _BOTH, usual=_BOTH, aliases=("mcc", "matthews")),
    MetricEntry(
        "roc_auc",
        "Auroc",
        _BOTH,
        usual=_BINARY,
        aliases=("auroc", "auc", "roc_auc_score", "roc_auc_ovr"),
        needs_scores=True,
    ),
    MetricEntry(
        "average_precision",
        "AveragePrecision",
        _BOTH,
        usual=_BINARY,
        aliases=("ap", "pr_auc", "auprc", "map", "average_precision_score"),
        needs_scores=True,
    ),
    MetricEntry("log_loss", "LogLoss", _BOTH, aliases=("neg_log_loss", "cross_entropy", "nll"), better="min"),
    MetricEntry("r2", "R2", _VALUES, usual=_VALUES, aliases=("r2_score", "r_squared")),
    MetricEntry("explained_variance", "ExplainedVariance", _VALUES, aliases=("explained_variance_score",)),
    MetricEntry(
        "mean_absolute_error",
        "Mae",
        _VALUES,
        usual=_VALUES,
        aliases=("mae", "l1", "neg_mean_absolute_error"),
        better="min",
    ),
    MetricEntry("mean_squared_error", "Mse", _VALUES, aliases=("mse", "l2", "neg_mean_squared_error"), better="min"),
    MetricEntry(
        "root_mean_squared_error",
        "Rmse",
        _VALUES,
        usual=_VALUES,
        aliases=("rmse", "neg_root_mean_squared_error"),
        better="min",
    ),
)

# Of training alone, without the prefix: a row has these by the way, and no metric that is asked for.
_OF_TRAINING: dict[str, tuple[Task, ...]] = {
    "Loss": (*_BOTH, *_VALUES),
    "Accuracy": _BOTH,
    "R2": _VALUES,
    "Mae": _VALUES,
    "Rmse": _VALUES,
}

_BY_NAME = {entry.name: entry for entry in METRICS}
_BY_FIGURE = {entry.figure: entry for entry in METRICS}


def metric_named(name: MetricName) -> MetricEntry:
    """The metric called ``name``."""
    return _BY_NAME[name]


def metric_of(figure: str) -> MetricEntry | None:
    """The metric that an epoch's row holds as ``figure`` (``valAuroc``); None for losses and a model file's own figures."""
    return _BY_FIGURE.get(figure.removeprefix("val"))


def tasks_of_figure(name: str) -> tuple[Task, ...]:
    """The tasks in which an epoch's row holds ``name`` (``valAuroc``, ``trainLoss``), or can when it is asked for; none for
    what only a model file's ``metrics`` can have."""
    if name.startswith("train"):
        return _OF_TRAINING.get(name.removeprefix("train"), ())
    if name == "valLoss":
        return _OF_TRAINING["Loss"]
    entry = metric_of(name)
    return entry.tasks if entry is not None else ()


def figures_of(tasks: Collection[Task]) -> list[str]:
    """What a run can watch that is of one of ``tasks``: losses, metrics of validation, figures of training."""
    names = ["valLoss", *(entry.row_name for entry in METRICS), *(f"train{figure}" for figure in _OF_TRAINING)]
    return [name for name in names if not set(tasks).isdisjoint(tasks_of_figure(name))]


def usual_metrics(task: Task, class_count: int) -> list[MetricName]:
    """What ``task`` is measured by when nobody says more; ``class_count`` is 0 where nobody knows it."""
    few = class_count < MANY_CLASSES
    return [entry.name for entry in METRICS if task in entry.usual and not (few and entry.name == "top_5_accuracy")]


def better_direction(monitor: str) -> Literal["min", "max"]:
    """``min`` for losses and errors, ``max`` for scores: ``valLoss`` -> ``min``, ``valAccuracy`` -> ``max``."""
    entry = metric_of(monitor)
    if entry is not None:
        return entry.better
    return "min" if monitor.endswith(LOWER_IS_BETTER) else "max"
