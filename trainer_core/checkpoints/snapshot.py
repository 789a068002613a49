"""All that a run needs to go on, and its files."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from schemas.result import Place
from trainer_core.checkpoints.artifacts import WEIGHTS_FILE
from trainer_core.checkpoints.manifest import FileRecord, Manifest, verify, write_hashed
from trainer_core.checkpoints.packing import Packer, unpack
from trainer_core.checkpoints.tensor_file import check_types, read_tensors, write_tensors
from trainer_core.failure import Failure

# The tensors of the model have a file of their own, for others to read; those of the other parts share one, and the JSON of all
# parts is in one: what is written beside a training interrupts it once for each file.
_MODEL, _OTHERS = "model", ("optimizer", "state", "random")
_TREES_FILE = "training.json"
_FILES = {_MODEL: WEIGHTS_FILE, "training": "training.safetensors"}


@dataclass(frozen=True)
class Snapshot:
    """All that a run needs to go on.

    ``model`` and ``optimizer`` are torch's state dicts; ``state`` and the entries of ``random``, one for each rank,
    are nested dicts, lists and tuples of tensors, numbers and text. ``about`` (model class, data fingerprint ...)
    stands in the manifest for people. ``path`` is where the snapshot was loaded from. Loaded tensors are on the CPU.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Any]
    random: list[Any]
    about: dict[str, str] = field(default_factory=dict)
    path: Path | None = None

    def packed(self) -> "PackedSnapshot":
        """As its files have it. Raises Failure ``model_invalid`` for a sparse tensor."""
        values = (_by_name(self.optimizer), self.state, self.random)
        model, others = Packer(), Packer()
        trees = {_MODEL: model.pack(self.model)}
        trees |= {part: others.pack(value, part) for part, value in zip(_OTHERS, values, strict=True)}
        return PackedSnapshot(trees, dict(zip(_FILES, (model.tensors, others.tensors), strict=True)), self.about)


@dataclass(frozen=True)
class PackedSnapshot:
    """A snapshot as its files have it: ``trees`` are the JSON of each part, of which nothing changes any more, and ``tensors``
    those of the model and of the rest of the ``training`` by key, still where they are."""

    trees: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]
    about: dict[str, str]

    @property
    def versions(self) -> dict[str, str]:
        """What wrote it."""
        return {"torch": torch.__version__}

    def write(self, folder: Path) -> dict[str, FileRecord]:
        """Write the files into ``folder``, each synced; returns their sizes and hashes. Raises OSError."""
        # Without an indent: that is written in C, and a tenth of the time in which no other thread may run.
        text = json.dumps(self.trees, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        files = {_TREES_FILE: write_hashed(folder / _TREES_FILE, [text.encode()])}
        for name, tensors in self.tensors.items():
            if tensors:
                files[_FILES[name]] = write_tensors(folder / _FILES[name], tensors)
        return files


def check_can_be_kept(model: dict[str, Any]) -> None:
    """Raise Failure ``model_invalid`` for what a model's state dict holds and a checkpoint cannot, before anything is trained."""
    packer = Packer()
    try:
        packer.pack(model)
    except TypeError as error:
        next_move = "Let get_extra_state() return tensors, numbers and text, in lists, tuples and dicts."
        raise Failure("model_invalid", f"The model's state_dict() has {error}", next_move=next_move) from error
    check_types(packer.tensors)


def load_snapshot(path: Path) -> Snapshot:
    """The snapshot in the checkpoint ``path``, every bit of it verified.

    Raises Failure ``checkpoint_incompatible`` when ``path`` is no checkpoint of a model of torch, ``checkpoint_corrupt`` (with the
    file) when it is damaged.
    """
    manifest = verify(path)
    trees, tensors = _read_trees(path, manifest), _read_tensors(path, "training", manifest)
    model = unpack(trees[_MODEL], _read_tensors(path, _MODEL, manifest))
    optimizer, state, random = (unpack(trees[part], tensors) for part in _OTHERS)
    return Snapshot(model, _by_index(optimizer), state, random, manifest.about, path)


def load_model(path: Path, manifest: Manifest) -> dict[str, Any]:
    """The state of the model alone, in the checkpoint ``path``, which was verified: ``manifest`` is its own."""
    state: dict[str, Any] = unpack(_read_trees(path, manifest)[_MODEL], _read_tensors(path, _MODEL, manifest))
    return state


def _read_trees(folder: Path, manifest: Manifest) -> dict[str, Any]:
    if _TREES_FILE not in manifest.files:
        message = f"{folder} holds no {_TREES_FILE}: it is a checkpoint of another engine."
        place = Place(path=str(folder), pointer="/checkpointConfig/resumeFrom")
        raise Failure("checkpoint_incompatible", message, place=place)
    trees: dict[str, Any] = json.loads((folder / _TREES_FILE).read_bytes())
    return trees


def _read_tensors(folder: Path, name: str, manifest: Manifest) -> dict[str, Tensor]:
    return read_tensors(folder / _FILES[name]) if _FILES[name] in manifest.files else {}


def _names(groups: list[dict[str, Any]]) -> dict[int, str]:
    """Index -> name of every parameter, where the groups have names."""
    return {
        index: name
        for group in groups
        for index, name in zip(group["params"], group.get("param_names", ()), strict=False)
    }


def _by_name(optimizer: dict[str, Any]) -> dict[str, Any]:
    """torch's optimizer state with parameters' names for their indices: it can be read, and moved to another order."""
    names = _names(optimizer.get("param_groups", []))
    if not names:
        return optimizer
    return optimizer | {"state": {names[index]: slots for index, slots in optimizer["state"].items()}}


def _by_index(optimizer: dict[str, Any]) -> dict[str, Any]:
    indices = {name: index for index, name in _names(optimizer.get("param_groups", [])).items()}
    if not indices:
        return optimizer
    return optimizer | {"state": {indices[name]: slots for name, slots in optimizer["state"].items()}}
