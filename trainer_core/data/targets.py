"""Targets: which task they mean, and how they become class numbers or float32."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.losses import Task
from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure

FEW = 20
TASK_RULE = (
    f"text, booleans and whole numbers of at most {FEW} distinct values are classes; other numbers are regressed"
)

IGNORED = -100  # torch's ignore_index
LARGEST = float(np.finfo(np.float32).max)
# A class number is a place in the model's output: one beyond this is an identifier that was never numbered.
MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class TargetCoding:
    """How the targets of a run are written: ``classes`` name class number 0, 1 ...; None for regression."""

    task: Task
    classes: tuple[str, ...] | None
    place: Place = field(default_factory=Place)

    def encode(self, values: NDArray, place: Place) -> NDArray:
        """Class numbers (int64), or float32 for binary and regression targets. ``values`` has no missing ones.

        Raises ``data_invalid`` with the row for a class that the training samples do not have.
        """
        if self.classes is None:
            _check_size(values, place)
            return values.astype(np.float32)
        numbers = {name: number for number, name in enumerate(self.classes)}
        names = class_names(values)
        unknown = sorted(set(names) - numbers.keys())
        if unknown:
            row = names.index(unknown[0]) + 1
            raise Failure(
                "data_invalid",
                f"Classes {', '.join(unknown[:10])} are not among those of the training samples: "
                f"{', '.join(self.classes[:50])}.",
                next_move="Name the classes alike in training and validation data.",
                place=place.model_copy(update={"row": row}),
            )
        codes = np.array([numbers[name] for name in names], dtype=np.int64)
        return codes.astype(np.float32) if self.task == "binary" else codes


def code_column(values: NDArray, task: Task | None, place: Place) -> TargetCoding:
    """The coding of a table's target column (without missing values); ``task`` overrides the rule ``TASK_RULE``.

    Raises ``data_single_class`` for one class only, and ``data_invalid`` when the values do not fit the task: three classes
    for binary, text for regression.
    """
    numeric = values.dtype.kind in "iuf"
    if task is None:
        few = values.dtype.kind != "f" and (not numeric or len(np.unique(values)) <= FEW)
        task = "classification" if few else "regression"
    if task == "regression":
        if not numeric and values.dtype.kind != "b":
            raise _wrong_task(
                f"Column {place.column!r} holds text ({str(values[0])!r}) and cannot be regressed.", place
            )
        return TargetCoding(task, None, place)
    if values.dtype.kind == "f":
        _check_whole(values, place)
    classes = sorted(set(class_names(values)), key=_numbers_first)
    check_class_count(classes, task, place)
    return TargetCoding(task, tuple(classes), place)


def _check_size(values: NDArray, place: Place) -> None:
    wrong = np.abs(values) > LARGEST if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
    if wrong.any():
        row = int(np.argmax(wrong)) + 1
        message = f"The target {place.column!r} is {values[row - 1]:g} in row {row}; float32 ends at {LARGEST:.1e}."
        raise Failure("data_not_finite", message, place=place.model_copy(update={"row": row}))


def _check_whole(values: NDArray, place: Place) -> None:
    broken = values != np.floor(values)
    if broken.any():
        row = int(np.argmax(broken)) + 1
        raise Failure(
            "data_invalid",
            f"Column {place.column!r} holds {values[row - 1]:g} in row {row}: fractions are no classes.",
            next_move="Set trainingConfig.task to regression (and use a model for it), or choose another dataConfig.target.",
            place=place.model_copy(update={"row": row}),
            fix=[PatchOperation(op="add", path="/trainingConfig/task", value="regression")],
        )


def check_class_count(classes: list[str], task: Task, place: Place) -> None:
    """Raise ``data_single_class`` for one class only, and ``data_invalid`` for more than two in a binary task."""
    if len(classes) < 2:
        raise Failure(
            "data_single_class",
            f"There is one class only ({', '.join(classes)}): nothing can be told apart.",
            next_move="Give samples of at least two classes.",
            place=place,
        )
    if task == "binary" and len(classes) != 2:
        message = f"trainingConfig.task is binary, but there are {len(classes)} classes: {', '.join(classes[:20])}."
        raise _wrong_task(message, place)


def class_names(values: NDArray) -> list[str]:
    """Each value as the name of its class; 1.0 is class 1."""
    if values.dtype.kind == "f":
        return [str(int(value)) if float(value).is_integer() else str(value) for value in values]
    return [str(value) for value in values]


def _numbers_first(name: str) -> tuple[int, float, str]:
    """Sort key: whole numbers by size, then text."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def _wrong_task(message: str, place: Place) -> Failure:
    fix = [PatchOperation(op="add", path="/trainingConfig/task", value="classification")]
    next_move = "Set trainingConfig.task to classification, or choose another dataConfig.target."
    return Failure("data_invalid", message, next_move=next_move, place=place, fix=fix)


def count_classes(targets: NDArray, classes: tuple[str, ...]) -> dict[str, int]:
    """Samples per class name."""
    valid = targets[targets >= 0].astype(np.int64).ravel()
    counts = np.bincount(valid, minlength=len(classes))
    return {name: int(size) for name, size in zip(classes, counts, strict=False)}


def describe(array: NDArray) -> dict[str, Any]:
    """Shape of one sample, type and range of ``array``, as JSON."""
    if array.size == 0:
        return {"shape": list(array.shape[1:]), "dtype": str(array.dtype)}
    low, high = array.min().item(), array.max().item()
    return {"shape": list(array.shape[1:]), "dtype": str(array.dtype), "min": low, "max": high}
