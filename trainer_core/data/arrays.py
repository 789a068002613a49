"""Inputs and targets that come as arrays: checked, coded, split, and otherwise taken as they are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.events import Alert
from schemas.problems import PatchOperation
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.data.samples import ArraySamples, Data, Indices, Inputs, each_input
from trainer_core.data.split import hold_out
from trainer_core.data.targets import (
    IGNORED,
    LARGEST,
    MOST_CLASSES,
    TargetCoding,
    check_class_count,
    code_column,
    count_classes,
    describe,
)
from trainer_core.failure import Failure

TASK_RULE = "text, booleans and integers are classes (class numbers from 0); floating-point targets are regressed"


@dataclass(frozen=True)
class NamedArrays:
    """Inputs and targets as they were read, with their names and the file they came from."""

    inputs: Inputs
    targets: NDArray
    path: str
    input_name: str = "x"
    target_name: str = "y"

    @property
    def each(self) -> list[tuple[NDArray, Place]]:
        """Each input, and where it stands."""
        if isinstance(self.inputs, dict):
            named = list(self.inputs.items())
        elif isinstance(self.inputs, tuple):
            named = [(f"{self.input_name}[{number}]", array) for number, array in enumerate(self.inputs)]
        else:
            named = [(self.input_name, self.inputs)]
        return [(array, Place(path=self.path, column=name)) for name, array in named]

    @property
    def target_place(self) -> Place:
        """Where the targets stand."""
        return Place(path=self.path, column=self.target_name)


def data_from_arrays(train: NamedArrays, validation: NamedArrays | None, request: TrainingRequest, format: str) -> Data:
    """Data of arrays in memory. Floating-point inputs become float32, integers int64 (token ids); neither is scaled. Booleans
    become float32, and stay what they are among several inputs: there they are masks.

    Raises, naming the array and the row, ``data_not_finite`` for NaN and infinity, ``data_empty``, ``data_single_class``, and
    ``data_invalid`` for lengths that differ and class numbers below 0.
    """
    coding, ignored = _coding(_checked(train), request), ignored_class(request)
    whole = _coded(train, coding, ignored)
    warnings = [*_integer_pixels(train), *_yes_or_no(whole.targets, coding, train.target_name, request)]
    if validation is None:
        classes = whole.targets if coding.task != "regression" and whole.targets.ndim == 1 else None
        split = hold_out(len(whole), request.data_config, request.training_config.seed, classes)
        warnings += split.warnings
        parts = _rows(whole, split.train), _rows(whole, split.validation)
    else:
        parts = whole, _coded(_checked(validation), coding, ignored)
        _check_same_shape(train, validation)
    profile: dict[str, Any] = {
        "inputs": each_input(describe, parts[0].inputs),
        "targets": describe(parts[0].targets),
        "taskRule": TASK_RULE,
        "transform": "none: arrays are taken as they are",
    }
    if coding.classes is not None and whole.targets.ndim == 1:
        sides = zip(("train", "validation"), parts, strict=True)
        profile["classCounts"] = {name: count_classes(part.targets, coding.classes) for name, part in sides}
    preprocessing = {"kind": "none", "classes": list(coding.classes) if coding.classes else None}
    return Data(*parts, coding.task, coding.classes, format, profile, preprocessing, warnings)


def _rows(samples: ArraySamples, indices: Indices) -> ArraySamples:
    return ArraySamples(*samples.take(indices))


def _checked(arrays: NamedArrays) -> NamedArrays:
    inputs = [(array, place, "biuf") for array, place in arrays.each]
    for array, place, kinds in (*inputs, (arrays.targets, arrays.target_place, "biufSUO")):
        if array.ndim == 0 or array.dtype.kind not in kinds or 0 in array.shape[1:]:
            what = f"Array {place.column!r} has shape {list(array.shape)} and type {array.dtype}"
            raise Failure("data_invalid", f"{what}: no samples of numbers.", place=place)
        check_finite(array, place)
    for array, place in arrays.each:
        if len(array) != len(arrays.targets):
            raise Failure(
                "data_invalid",
                f"{place.column!r} has {len(array)} samples and {arrays.target_name!r} {len(arrays.targets)}.",
                next_move="Give one target for each sample.",
                place=arrays.target_place,
            )
    return arrays


def check_finite(array: NDArray, place: Place) -> None:
    """Raise ``data_not_finite`` with the row (from 1) of the first value of ``array`` that float32 cannot hold: NaN, infinity,
    and what is larger than 3.4e38."""
    if array.dtype.kind != "f":
        return
    finite = np.abs(array) <= LARGEST if array.dtype.itemsize > 4 else np.isfinite(array)
    if finite.all():
        return
    index = tuple(int(part) for part in np.unravel_index(int(np.argmin(finite)), array.shape))
    raise Failure(
        "data_not_finite",
        f"Array {place.column!r} holds {array[index]} at index {list(index)}; {int((~finite).sum())} such values in all.",
        next_move="Fill or drop the samples with NaN or infinite values, and those beyond float32.",
        place=place.model_copy(update={"row": index[0] + 1}),
    )


def _coding(arrays: NamedArrays, request: TrainingRequest) -> TargetCoding:
    targets, place, task = arrays.targets, arrays.target_place, request.training_config.meant_task
    if len(targets) == 0:
        raise Failure("data_empty", f"{arrays.path} holds no sample.", place=place)
    if targets.dtype.kind not in "biuf":
        names = targets.ravel() if targets.ndim == 2 and targets.shape[1] == 1 else targets
        if names.ndim != 1:
            message = (
                f"Array {place.column!r} holds text of shape {list(targets.shape)}; one class a sample was expected."
            )
            raise Failure("data_invalid", message, place=place)
        return code_column(names, task, place)
    task = task or ("regression" if targets.dtype.kind == "f" else "classification")
    if task == "regression":
        return TargetCoding(task, None, place)
    if task == "binary":
        _check_binary(targets, place)
        return TargetCoding(task, ("0", "1"), place)
    if _are_shares(targets):
        return TargetCoding(task, tuple(map(str, range(targets.shape[1]))), place)
    classes = number_classes(targets, place, ignored_class(request))
    check_class_count(list(classes), task, place)
    return TargetCoding(task, classes, place)


def _are_shares(targets: NDArray) -> bool:
    """Whether each target is a share for each class, in floating point: one-hot, or what another model found likely."""
    if targets.dtype.kind != "f" or targets.ndim != 2 or targets.shape[1] < 2:
        return False
    return bool((targets >= 0).all() and np.allclose(targets.sum(axis=1), 1.0, atol=1e-3))


def number_classes(targets: NDArray, place: Place, ignored: object) -> tuple[str, ...]:
    """The names of classes that are numbered from 0, from all targets. Raises ``data_invalid`` with the index of what is no
    class number and is not ``ignored``."""
    _check_class_numbers(targets, place, ignored)
    counted = targets[targets != ignored]
    if counted.size == 0:
        raise Failure("data_invalid", f"Every target is {ignored}, which is ignored.", place=place)
    return tuple(str(number) for number in range(int(counted.max()) + 1))


def ignored_class(request: TrainingRequest) -> object:
    """The class number that does not count. (What is no number is refused where the loss is built.)"""
    return request.training_config.loss_args.get("ignore_index", IGNORED)


def _check_class_numbers(targets: NDArray, place: Place, ignored: object) -> None:
    wrong = ((targets < 0) | (targets >= MOST_CLASSES)) & (targets != ignored)
    if targets.dtype.kind == "f":
        wrong |= targets != np.floor(targets)
    if not wrong.any():
        return
    index = np.argwhere(wrong)[0].tolist()
    what = f"Array {place.column!r}" if place.column else "The data set"
    # Among the targets of sequences and masks one odd number marks what does not count.
    marks = np.unique(targets[wrong])
    mark = int(marks[0]) if targets.ndim > 1 and len(marks) == 1 and float(marks[0]).is_integer() else None
    fix = PatchOperation(op="add", path="/trainingConfig/task", value="regression")
    next_move = "Number the classes from 0, or set trainingConfig.task to regression."
    if mark is not None:
        next_move = f"Where {mark} marks what does not count, set trainingConfig.lossArgs.ignore_index to {mark}; else number the classes from 0."
    raise Failure(
        "data_invalid",
        f"{what} holds {targets[tuple(index)]} in row {index[0] + 1} (index {index}); class numbers are 0, 1, 2 ... below "
        f"{MOST_CLASSES:,}.",
        next_move=next_move,
        place=place.model_copy(update={"row": index[0] + 1}),
        fix=[fix] if mark is None else None,
    )


def _check_binary(targets: NDArray, place: Place) -> None:
    wrong = (targets != 0) & (targets != 1)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        message = f"Array {place.column!r} holds {targets[wrong][0]} in row {row + 1}; a binary target is 0 or 1."
        raise Failure("data_invalid", message, place=place.model_copy(update={"row": row + 1}))


def _coded(arrays: NamedArrays, coding: TargetCoding, ignored: object) -> ArraySamples:
    several = isinstance(arrays.inputs, dict | tuple)
    inputs = each_input(lambda array: _typed(array, several), arrays.inputs)
    targets, place = arrays.targets, arrays.target_place
    if targets.dtype.kind not in "biuf":
        return ArraySamples(inputs, coding.encode(targets.reshape(len(targets), -1)[:, 0], place))
    if coding.task == "binary":
        _check_binary(targets, place)
    if coding.classes is None or coding.task == "binary" or _are_shares(targets):
        return ArraySamples(inputs, targets.astype(np.float32, copy=False))
    _check_class_numbers(targets, place, ignored)
    numbers = targets.astype(np.int64, copy=False)
    unknown = np.argwhere((numbers >= len(coding.classes)) & (numbers != ignored))
    if len(unknown):
        index = unknown[0].tolist()
        message = (
            f"Class {numbers[tuple(index)]} is not among those of the training samples (0 to "
            f"{len(coding.classes) - 1}), at index {index}."
        )
        raise Failure("data_invalid", message, place=place.model_copy(update={"row": index[0] + 1}))
    return ArraySamples(inputs, numbers)


def _typed(array: NDArray, several: bool) -> NDArray:
    if several and array.dtype.kind == "b":
        return array
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float32, copy=False)


def _check_same_shape(train: NamedArrays, validation: NamedArrays) -> None:
    if len(train.each) != len(validation.each):
        message = f"A training sample has {len(train.each)} inputs, a validation sample {len(validation.each)}."
        raise Failure("data_invalid", message, next_move="Give both the same inputs.", place=validation.each[0][1])
    for (array, _), (other, place) in zip(train.each, validation.each, strict=True):
        if array.shape[1:] != other.shape[1:]:
            message = (
                f"A training sample has shape {list(array.shape[1:])}, a validation sample {list(other.shape[1:])}."
            )
            raise Failure("data_invalid", message, next_move="Give both the same shape.", place=place)


def _yes_or_no(targets: NDArray, coding: TargetCoding, name: str, request: TrainingRequest) -> list[Alert]:
    """Zeros and ones in floating point may be meant as labels."""
    asked = request.training_config.meant_task is not None
    if asked or coding.task != "regression" or not np.array_equal(np.unique(targets), (0, 1)):
        return []
    return [
        Alert(
            code="target_looks_like_classes",
            level="warning",
            message=f"Array {name!r} holds zeros and ones, in floating point: it is regressed.",
            evidence={"column": name, "distinct": 2},
            remedy="If these are yes and no, set trainingConfig.task to binary.",
        )
    ]


def _integer_pixels(arrays: NamedArrays) -> list[Alert]:
    """Token ids are integers, and so are the pixels of whoever forgot to divide by 255."""
    return [
        Alert(
            code="integer_inputs",
            level="warning",
            message=f"Array {place.column!r} is uint8 of shape {list(array.shape)}: it is passed on as int64.",
            evidence={"array": place.column},
            remedy="If these are pixels, save them as float32 between 0 and 1.",
        )
        for array, place in arrays.each
        if array.dtype == np.uint8 and array.ndim > 2
    ]
