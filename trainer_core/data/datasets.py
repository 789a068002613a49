"""Data that the model file makes itself: ``build_dataset(path, split)``, and its ``collate``."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.data import DataFormat
from schemas.effects import SPLIT, Idle
from schemas.losses import Task
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.data.arrays import NamedArrays, data_from_arrays, ignored_class, number_classes
from trainer_core.data.draws import Draws
from trainer_core.data.samples import Data, Indices, Inputs, Part
from trainer_core.data.split import hold_out
from trainer_core.data.targets import check_class_count, count_classes
from trainer_core.failure import Failure
from trainer_core.models.file import ModelFile
from trainer_core.models.user_code import running

PROBE = 8

_IN_MEMORY = Idle("/dataConfig/numWorkers", "build_dataset of the model file returns arrays, which are held in memory")


@dataclass(frozen=True)
class DatasetSamples:
    """A data set of the model file. What its code raises is ``data_invalid``, with the line in the user's file. What its items
    draw is by ``draws``."""

    dataset: Any
    collate: Callable[[list[Any]], Any]
    path: Path
    length: int
    draws: Draws = field(default_factory=Draws, compare=False)

    def __len__(self) -> int:
        return self.length

    def take(self, indices: Indices) -> tuple[Any, Any]:
        """The items at ``indices``, collated to (inputs, targets)."""
        with running(self.path, "data_invalid", "reading samples of build_dataset"):
            places = [int(index) for index in indices]
            several = getattr(self.dataset, "__getitems__", None)
            if several is not None:
                items = self.draws.read_together(several, places)
            else:
                items = self.draws.read(self.dataset.__getitem__, places)
            batch = self.collate(list(items))
        if not isinstance(batch, Sequence) or isinstance(batch, str) or len(batch) != 2:
            message = f"A batch of {self.path.name} is a {type(batch).__name__}; a pair (inputs, targets) was expected."
            next_move = "Let the data set's items, or collate, be pairs (inputs, targets)."
            raise Failure("data_invalid", message, next_move=next_move, place=Place(path=str(self.path)))
        return batch[0], batch[1]

    @property
    def arrays(self) -> None:
        """Nobody knows where its samples lie."""
        return None


def load(request: TrainingRequest, _format: DataFormat, model_file: ModelFile) -> Data:
    """Samples of ``build_dataset(path, "train")`` and ``(path, "val")``: a pair (x, y) of arrays, where x may be several (a dict
    is passed to the model by name, a tuple in its order), or a data set of pairs.

    Returning None for "val" means that there are none, and a part of the training samples is held out.
    """
    config = request.data_config
    train = _built(model_file, config.train_path, "train")
    validation = _built(model_file, config.val_path or config.train_path, "val")
    if train is None:
        raise _wrong_result(model_file, train)
    if isinstance(train, NamedArrays):
        if isinstance(validation, DatasetSamples):
            raise _two_kinds(model_file)
        data = data_from_arrays(train, validation, request, "modelFile")
        return replace(data, idle=[_IN_MEMORY, *_not_held_out(validation)])
    if isinstance(validation, NamedArrays):
        raise _two_kinds(model_file)
    return replace(_data_of_datasets(train, validation, request), idle=_not_held_out(validation))


def _not_held_out(validation: object) -> list[Idle]:
    reason = "build_dataset of the model file returns validation data"
    return [] if validation is None else [Idle(pointer, reason) for pointer in SPLIT]


def _built(model_file: ModelFile, path: str, split: str) -> NamedArrays | DatasetSamples | None:
    assert model_file.build_dataset is not None
    with running(model_file.path, "data_invalid", f"building the {split} data with build_dataset"):
        built = model_file.build_dataset(path, split)
        if isinstance(built, tuple) and len(built) == 2:
            if isinstance(built[1], Mapping | tuple):
                raise _several_targets(model_file, built[1])
            return NamedArrays(_inputs(built[0]), _array(built[1]), str(model_file.path))
    if built is None:
        return None
    if not (hasattr(built, "__len__") and hasattr(built, "__getitem__")):
        raise _wrong_result(model_file, built)
    with running(model_file.path, "data_invalid", f"counting the {split} samples of build_dataset"):
        length = len(built)
    return DatasetSamples(built, model_file.collate or stack, model_file.path, length)


def _inputs(value: Any) -> Inputs:
    """Several, as a dict or a tuple, or one."""
    if isinstance(value, Mapping):
        return {str(name): _array(item) for name, item in value.items()}
    return tuple(map(_array, value)) if isinstance(value, tuple) else _array(value)


def _array(value: Any) -> NDArray:
    """A tensor, array or list as an array; bfloat16 as float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    return np.asarray(value)


def stack(items: list[Any]) -> Any:
    """Items to a batch: torch's ``default_collate`` where torch is loaded, else arrays stacked field by field."""
    if "torch" in sys.modules:
        from torch.utils.data import default_collate

        return default_collate(items)
    return tuple(np.stack([np.asarray(part) for part in parts]) for parts in zip(*items, strict=True))


def _data_of_datasets(train: DatasetSamples, validation: DatasetSamples | None, request: TrainingRequest) -> Data:
    if len(train) == 0:
        raise Failure("data_empty", "The training data set is empty.", place=Place(path=str(train.path)))
    inputs, targets = train.take(np.arange(min(PROBE, len(train))))
    with running(train.path, "data_invalid", "reading the targets of build_dataset"):
        known = _known_targets(train.dataset, len(train))
    task = request.training_config.meant_task or _task_of(targets)
    classes = None if task == "regression" else _class_names(train, known, ignored_class(request))
    if classes is not None:
        check_class_count(list(classes), task, Place(path=str(train.path)))
    profile: dict[str, Any] = {
        "inputs": _outline(inputs),
        "targets": _outline(targets),
        "transform": "the model file's own",
    }
    if classes is not None and known is not None and known.ndim == 1:
        profile["classCounts"] = {"train": count_classes(known, classes)}
    preprocessing = {"kind": "modelFile", "classes": list(classes) if classes else None}
    if validation is not None:
        return Data(train, validation, task, classes, "modelFile", profile, preprocessing)
    labels = known if task != "regression" and known is not None and known.ndim == 1 else None
    split = hold_out(len(train), request.data_config, request.training_config.seed, labels)
    parts = Part(train, split.train), Part(train, split.validation)
    return Data(*parts, task, classes, "modelFile", profile, preprocessing, split.warnings)


def _known_targets(dataset: Any, count: int) -> NDArray | None:
    """All targets, where the data set shows them as ``targets`` or ``labels`` (as torchvision's do)."""
    for name in ("targets", "labels"):
        found = getattr(dataset, name, None)
        if found is not None and hasattr(found, "__len__") and len(found) == count:
            return _array(found)
    return None


def _class_names(samples: DatasetSamples, known: NDArray | None, ignored: object) -> tuple[str, ...] | None:
    named = getattr(samples.dataset, "classes", None)
    if isinstance(named, Sequence) and not isinstance(named, str):
        return tuple(str(name) for name in named)
    if known is None or known.dtype.kind not in "iu" or known.size == 0:
        return None
    return number_classes(known, Place(path=str(samples.path)), ignored)


def _task_of(targets: Any) -> Task:
    """Integers and booleans are classes, other numbers are regressed."""
    kind = str(getattr(targets, "dtype", np.asarray(targets).dtype))
    return "regression" if "float" in kind else "classification"


def _outline(part: Any) -> dict[str, Any]:
    shape = getattr(part, "shape", None)
    if shape is None:
        return {"type": type(part).__name__}
    return {"shape": [int(size) for size in shape[1:]], "dtype": str(part.dtype).removeprefix("torch.")}


def _wrong_result(model_file: ModelFile, built: object) -> Failure:
    return Failure(
        "data_invalid",
        f"build_dataset of {model_file.path.name} returned a {type(built).__name__}; a pair (x, y) of arrays, or a data "
        "set with __len__ and __getitem__, was expected.",
        next_move="Return (x, y), or a data set of pairs; None is allowed for split 'val' alone.",
        place=Place(path=str(model_file.path)),
    )


def _several_targets(model_file: ModelFile, targets: object) -> Failure:
    return Failure(
        "data_invalid",
        f"build_dataset of {model_file.path.name} returned a pair (x, y) whose y is a {type(targets).__name__}; one array was "
        "expected.",
        next_move="For several targets return a data set of pairs (input, targets), and define loss(output, targets).",
        place=Place(path=str(model_file.path)),
    )


def _two_kinds(model_file: ModelFile) -> Failure:
    message = f"build_dataset of {model_file.path.name} returned arrays for one split and a data set for the other."
    place = Place(path=str(model_file.path))
    return Failure("data_invalid", message, next_move="Return the same kind for train and val.", place=place)
