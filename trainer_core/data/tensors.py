"""Tensor files: .npz, .pt and .safetensors. Nothing in them is ever unpickled."""

import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.data import DataConfig, DataFormat
from schemas.events import Alert
from schemas.problems import PatchOperation
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.data.arrays import NamedArrays, data_from_arrays
from trainer_core.data.samples import Data, Inputs
from trainer_core.failure import Failure
from trainer_core.models.file import ModelFile

INPUT_NAMES = ("x", "X", "inputs", "input", "data", "features", "images")
TARGET_NAMES = ("y", "Y", "targets", "target", "labels", "label")

# Of a file that is no pickle torch's reader makes what it can, and fails wherever that ends.
_UNREADABLE_PT = (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


def load(request: TrainingRequest, format: DataFormat, _model_file: ModelFile) -> Data:
    """Samples of tensor files; which array is which is said by ``dataConfig.features`` and ``target``, else by name. Several
    inputs are a dict, which is passed to the model by name. Arrays that are neither are said."""
    config = request.data_config
    train, left = _read(Path(config.train_path), format, config)
    validation = None if config.val_path is None else _read(Path(config.val_path), format, config)[0]
    data = data_from_arrays(train, validation, request, format)
    return replace(data, warnings=[*data.warnings, *_left_out(train, left)])


def _read(path: Path, format: DataFormat, config: DataConfig) -> tuple[NamedArrays, list[str]]:
    """Inputs and targets of a file, and the names of the arrays that are neither."""
    arrays = READERS[format](path)
    target = _choose(arrays, config.target, TARGET_NAMES, path, "target", "/dataConfig/target")
    rest = {name: array for name, array in arrays.items() if name != target}
    wanted: list[str | None] = [*config.features] if config.features else [None]
    names = [
        _choose(rest, name, INPUT_NAMES, path, "input", f"/dataConfig/features/{number}")
        for number, name in enumerate(wanted)
    ]
    inputs: Inputs = rest[names[0]] if len(names) == 1 else {name: rest[name] for name in names}
    left = [name for name in rest if name not in names]
    return NamedArrays(inputs, arrays[target], str(path), names[0], target), left


def _left_out(train: NamedArrays, left: list[str]) -> list[Alert]:
    if not left:
        return []
    return [
        Alert(
            code="arrays_left_out",
            level="warning",
            message=f"{Path(train.path).name} also holds {', '.join(left[:10])}, which the model does not get: its input is "
            f"{', '.join(str(place.column) for _, place in train.each)}, the target {train.target_name}.",
            evidence={"arrays": left[:50]},
            remedy="Name all inputs in dataConfig.features: several are passed to the model by name.",
        )
    ]


def _choose(
    arrays: Mapping[str, NDArray], wanted: str | None, usual: tuple[str, ...], path: Path, role: str, pointer: str
) -> str:
    """The name of the array that is wanted, or goes by a usual name; raises ``data_column_missing`` listing what there is."""
    name = wanted or next((item for item in usual if item in arrays), None)
    if name is not None and name in arrays:
        return name
    near = get_close_matches(wanted or "", arrays, n=1)
    there = ", ".join(arrays) or "nothing else"
    what = f"no array {wanted!r}" if wanted else f"no {role} array under a usual name ({', '.join(usual)})"
    raise Failure(
        "data_column_missing",
        f"{path.name} has {what}; it has {there}." + (f" Did you mean {near[0]!r}?" if near else ""),
        next_move="Name the arrays by dataConfig.features (several are passed to the model by name) and dataConfig.target.",
        place=Place(path=str(path), pointer=pointer),
        fix=[PatchOperation(op="replace", path=pointer, value=near[0])] if near else _all_of(arrays, wanted, role),
    )


def _all_of(arrays: Mapping[str, NDArray], wanted: str | None, role: str) -> list[PatchOperation] | None:
    """Where nothing says which arrays are the inputs: all that are left, when they have as many samples as each other."""
    if wanted or role != "input" or len({array.shape[:1] for array in arrays.values()}) != 1:
        return None
    return [PatchOperation(op="add", path="/dataConfig/features", value=list(arrays))]


def _unreadable(path: Path, format: DataFormat, error: Exception, next_move: str) -> Failure:
    message = f"{path.name} cannot be read as {format}: {type(error).__name__}."
    return Failure("data_unreadable", message, next_move=next_move, place=Place(path=str(path)), detail=str(error))


def read_npz(path: Path) -> dict[str, NDArray]:
    """The arrays of an ``.npz`` file; pickled ones are refused."""
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        next_move = "Save plain arrays: np.savez(path, x=..., y=...), none of them of type object."
        raise _unreadable(path, "npz", error, next_move) from error


def read_pt(path: Path) -> dict[str, NDArray]:
    """The tensors of a ``.pt`` file: a dict of them, or a pair (x, y). Read with ``weights_only=True``."""
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE_PT as error:
        next_move = "Save tensors alone: torch.save({'x': x, 'y': y}, path)."
        raise _unreadable(path, "pt", error, next_move) from error
    if isinstance(content, list | tuple) and len(content) == 2:
        content = {"x": content[0], "y": content[1]}
    if not isinstance(content, dict):
        message = f"{path.name} holds a {type(content).__name__}; a dict of tensors or a pair (x, y) was expected."
        raise Failure("data_invalid", message, place=Place(path=str(path)))
    tensors = {str(name): item for name, item in content.items() if isinstance(item, torch.Tensor)}
    return {
        name: (item.float() if item.is_floating_point() else item).detach().numpy() for name, item in tensors.items()
    }


def read_safetensors(path: Path) -> dict[str, NDArray]:
    """The tensors of a ``.safetensors`` file, of the types that NumPy has (bfloat16 is not among them)."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, KeyError) as error:
        next_move = "Save float32 or integer tensors with safetensors."
        raise _unreadable(path, "safetensors", error, next_move) from error


READERS: dict[DataFormat, Callable[[Path], dict[str, NDArray]]] = {
    "npz": read_npz,
    "pt": read_pt,
    "safetensors": read_safetensors,
}
