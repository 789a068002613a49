"""From the request to samples: which source reads them, and what all sources share."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from schemas.assignment import Assignment
from schemas.data import SUFFIXES, DataConfig, DataFormat, format_of_file
from schemas.events import Alert
from schemas.problems import PatchOperation
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.data.samples import Data
from trainer_core.failure import Failure
from trainer_core.models.file import ModelFile

SMALL = 1000

Source = Callable[[TrainingRequest, DataFormat, ModelFile], Data]

# Imported at the door: images need Pillow, tables pandas, and neither needs the other.
SOURCES: dict[DataFormat, str] = {
    "imageFolder": "trainer_core.data.images:load",
    "csv": "trainer_core.data.tables:load",
    "parquet": "trainer_core.data.tables:load",
    "jsonl": "trainer_core.data.tables:load",
    "npz": "trainer_core.data.tensors:load",
    "pt": "trainer_core.data.tensors:load",
    "safetensors": "trainer_core.data.tensors:load",
    "modelFile": "trainer_core.data.datasets:load",
}


def load_data(assignment: Assignment, model_file: ModelFile) -> Data:
    """The samples of a run, split and preprocessed; the same on every rank and at every resume.

    Raises ``Failure("data_not_found")`` for a path that is not there, and one of the other ``data_…`` codes, with the file,
    column, row or line, for what is in it.
    """
    request = assignment.request
    config = request.data_config
    _check_paths(config)
    chosen = find_format(config, model_file)
    module, function = SOURCES[chosen].split(":")
    source = cast(Source, getattr(importlib.import_module(module), function))
    data = source(request, chosen, model_file)
    _check_not_empty(data, config)
    return replace(data, warnings=[*data.warnings, *_small_data(data)])


def find_format(config: DataConfig, model_file: ModelFile) -> DataFormat:
    """The format that is asked for; else ``modelFile`` when the file has ``build_dataset``; else by suffix or folder."""
    if config.format == "modelFile" and model_file.build_dataset is None:
        raise Failure(
            "model_invalid",
            f"dataConfig.format is modelFile, but {model_file.path.name} defines no build_dataset(path, split).",
            next_move="Define build_dataset in the model file, or drop dataConfig.format.",
            place=Place(path=str(model_file.path), pointer="/dataConfig/format"),
        )
    if config.format is not None:
        return config.format
    if model_file.build_dataset is not None:
        return "modelFile"
    path = Path(config.train_path)
    if path.is_dir():
        return "imageFolder"
    found = format_of_file(path.name)
    if found is not None:
        return found
    raise Failure(
        "data_invalid",
        f"{path.name} has no suffix that says its format; known are {', '.join(SUFFIXES)}.",
        next_move="Set dataConfig.format, or define build_dataset(path, split) in the model file.",
        place=Place(path=str(path), pointer="/dataConfig/trainPath"),
    )


def _check_paths(config: DataConfig) -> None:
    for key, text in (("trainPath", config.train_path), ("valPath", config.val_path)):
        if text is not None and not Path(text).exists():
            raise _not_found(key, Path(text))
        if text is not None and not (Path(text).is_file() or Path(text).is_dir()):
            place = Place(path=text, pointer=f"/dataConfig/{key}")
            raise Failure("data_invalid", f"{text} is neither a file nor a folder.", place=place)


def _not_found(key: str, path: Path) -> Failure:
    parent = path.parent
    names = sorted(item.name for item in parent.iterdir()) if parent.is_dir() else []
    near = get_close_matches(path.name, names, n=3, cutoff=0.5)
    if near:
        hint = f" Near it: {', '.join(near)}."
    elif names:
        hint = f" {parent} holds {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}."
    else:
        hint = f" {parent} {'is empty' if parent.is_dir() else 'does not exist either'}."
    pointer = f"/dataConfig/{key}"
    return Failure(
        "data_not_found",
        f"There is no {path}.{hint}",
        place=Place(path=str(path), pointer=pointer),
        fix=[PatchOperation(op="replace", path=pointer, value=str(parent / near[0]))] if near else None,
    )


def _check_not_empty(data: Data, config: DataConfig) -> None:
    sides = (("training", data.train, config.train_path), ("validation", data.validation, config.val_path))
    for name, samples, path in sides:
        if samples is not None and len(samples) == 0:
            place = Place(path=path or config.train_path)
            raise Failure("data_empty", f"The {name} data are empty: {place.path} holds no sample.", place=place)


def _small_data(data: Data) -> list[Alert]:
    count = len(data.train) + (len(data.validation) if data.validation is not None else 0)
    if count >= SMALL:
        return []
    return [
        Alert(
            code="small_data",
            level="info",
            message=f"{count} samples in all: figures from so few vary from split to split.",
            evidence={"samples": count},
            remedy="Optional: compare several seeds, or cross-validate, before trusting small differences.",
        )
    ]
