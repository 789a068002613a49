"""A folder of images per class: ``path/<class>/<image>``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.data import DataConfig, DataFormat
from schemas.effects import Idle
from schemas.events import Alert
from schemas.losses import Task
from schemas.problems import PatchOperation
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.data.memory import fits_in_memory
from trainer_core.data.pictures import (
    SUFFIXES,
    LazyImages,
    Transform,
    choose_transform,
    decode_all,
    measure_channels,
    standardize,
)
from trainer_core.data.samples import ArraySamples, Data, Indices, Samples, each_input
from trainer_core.data.split import hold_out
from trainer_core.data.targets import check_class_count, count_classes, describe
from trainer_core.failure import Failure
from trainer_core.models.file import ModelFile


@dataclass(frozen=True)
class Listing:
    """The images of a folder: ``paths[i]`` is of class number ``labels[i]``."""

    root: Path
    paths: NDArray
    labels: NDArray
    classes: tuple[str, ...]
    skipped: int


def load(request: TrainingRequest, _format: DataFormat, _model_file: ModelFile) -> Data:
    """Images as (channels, height, width) float32 in [0, 1], standardized per channel unless switched off.

    Raises ``data_invalid``: no class folder, one class only, a class without images, an image that cannot be read, a
    class of the validation folder that the training folder does not have.
    """
    config = request.data_config
    train = list_images(Path(config.train_path), "/dataConfig/trainPath")
    training = request.training_config
    # Class folders are regressed where that is asked for, and a loss that cannot be theirs is told where it is built.
    by_loss = None if training.meant_task == "regression" else training.meant_task
    task: Task = training.task or by_loss or "classification"
    _check_classes(train, task)
    listings, warnings = [train], []
    if config.val_path is not None:
        listings.append(_numbered_alike(list_images(Path(config.val_path), "/dataConfig/valPath"), train))
    else:
        split = hold_out(len(train.paths), config, request.training_config.seed, train.labels)
        listings = [_subset(train, split.train), _subset(train, split.validation)]
        warnings += split.warnings
    transform, notes = choose_transform(listings[0].paths, config.preprocessing)
    warnings += notes + _skipped(train, config)
    samples, transform, resident = _read(listings, transform, config.preprocessing.standardize, task)
    counts = {
        name: count_classes(part.labels, train.classes)
        for name, part in zip(("train", "validation"), listings, strict=True)
    }
    profile: dict[str, Any] = {
        "inputs": _describe(samples[0], transform),
        "targets": {"shape": [], "dtype": "float32" if task == "binary" else "int64"},
        "classCounts": counts,
        "inMemory": resident,
    }
    preprocessing = {**transform.to_json(), "classes": list(train.classes)}
    idle = [Idle("/dataConfig/numWorkers", "these images are held in memory")] if resident else []
    return Data(samples[0], samples[1], task, train.classes, "imageFolder", profile, preprocessing, warnings, idle)


def list_images(root: Path, pointer: str) -> Listing:
    """Class folders in the order of their names, and their images likewise. Hidden files are passed over."""
    place = Place(path=str(root), pointer=pointer)
    folders = [item for item in _visible(root) if item.is_dir()] if root.is_dir() else []
    if not folders:
        message = f"{root} has no class folders: a folder per class, images in it, was expected."
        raise Failure("data_invalid", message, next_move="Give the folder that holds the class folders.", place=place)
    paths: list[str] = []
    labels: list[int] = []
    skipped = 0
    for number, folder in enumerate(folders):
        files = _visible(folder)
        # A pipe would be waited for, for ever.
        images = [str(item) for item in files if item.suffix.lower() in SUFFIXES and not item.is_fifo()]
        if not images:
            raise _class_without_images(folder, [item for item in files if item.is_dir()], pointer)
        paths += images
        labels += [number] * len(images)
        skipped += len(files) - len(images)
    return Listing(
        root, np.array(paths), np.array(labels, dtype=np.int64), tuple(item.name for item in folders), skipped
    )


def _visible(folder: Path) -> list[Path]:
    """What is in ``folder``, by name. Raises ``data_invalid`` for a name that is no text: JSON could not hold it."""
    names = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    try:
        "".join(names).encode()
    except UnicodeEncodeError as error:
        wrong = next(name for name in names if not name.isascii() and name != name.encode(errors="ignore").decode())
        message = f"{folder} holds {wrong!a}, a name that is not UTF-8."
        next_move = "Rename it."
        raise Failure("data_invalid", message, next_move=next_move, place=Place(path=str(folder))) from error
    return [folder / name for name in names]


def _class_without_images(folder: Path, inner: list[Path], pointer: str) -> Failure:
    if inner:
        message = f"{folder} holds folders ({', '.join(item.name for item in inner[:8])}) and no image of its own."
        fix = [PatchOperation(op="replace", path=pointer, value=str(folder))]
        next_move = f"If its folders are the classes, set {pointer} to {folder}."
    else:
        message = f"{folder} holds no image ({' '.join(SUFFIXES)})."
        fix, next_move = None, "Remove the folder, or give the class its images."
    return Failure(
        "data_invalid", message, next_move=next_move, place=Place(path=str(folder), pointer=pointer), fix=fix
    )


def _check_classes(listing: Listing, task: Task) -> None:
    place = Place(path=str(listing.root))
    if task == "regression":
        fix = [PatchOperation(op="replace", path="/trainingConfig/task", value="classification")]
        raise Failure("data_invalid", "Class folders have no numbers to regress.", place=place, fix=fix)
    check_class_count(list(listing.classes), task, place)


def _numbered_alike(validation: Listing, train: Listing) -> Listing:
    unknown = [name for name in validation.classes if name not in train.classes]
    if unknown:
        raise Failure(
            "data_invalid",
            f"Validation classes {', '.join(unknown)} are not among the training classes {', '.join(train.classes)}; "
            f"the validation folder has {', '.join(validation.classes)}.",
            next_move="Name the class folders alike on both sides.",
            place=Place(path=str(validation.root), pointer="/dataConfig/valPath"),
        )
    numbers = np.array([train.classes.index(name) for name in validation.classes], dtype=np.int64)
    return Listing(validation.root, validation.paths, numbers[validation.labels], train.classes, validation.skipped)


def _subset(listing: Listing, indices: Indices) -> Listing:
    return Listing(listing.root, listing.paths[indices], listing.labels[indices], listing.classes, listing.skipped)


def _read(
    listings: list[Listing], transform: Transform, wants_standard: bool, task: Task
) -> tuple[list[Samples], Transform, bool]:
    """Samples of both sides, in memory when all of them fit; statistics come from the training side alone."""
    labels = [part.labels.astype(np.float32 if task == "binary" else np.int64) for part in listings]
    resident = fits_in_memory(sum(len(part.paths) for part in listings) * transform.bytes)
    if not resident:
        if wants_standard:
            transform = measure_channels(listings[0].paths, transform)
        lazy: list[Samples] = [
            LazyImages(part.paths, targets, transform) for part, targets in zip(listings, labels, strict=True)
        ]
        return lazy, transform, resident
    arrays = [decode_all(part.paths, transform) for part in listings]
    if wants_standard:
        transform = standardize(arrays, transform)
    return [ArraySamples(array, targets) for array, targets in zip(arrays, labels, strict=True)], transform, resident


def _describe(samples: Samples, transform: Transform) -> dict[str, Any]:
    if samples.arrays is not None:
        described: dict[str, Any] = each_input(describe, samples.arrays[0])
        return described
    return {"shape": [transform.channels, *transform.size], "dtype": "float32"}


def _skipped(listing: Listing, config: DataConfig) -> list[Alert]:
    if not listing.skipped:
        return []
    return [
        Alert(
            code="files_skipped",
            level="warning",
            message=f"{listing.skipped} files in the class folders of {config.train_path} are no images and were skipped.",
            evidence={"files": listing.skipped},
            remedy=f"Known suffixes: {' '.join(SUFFIXES)}.",
        )
    ]
