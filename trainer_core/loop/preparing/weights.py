"""Weights that a model begins from: read without executing anything, taken by name, and accounted for."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from schemas.checkpointing import BEST, LATEST
from schemas.events import Alert
from schemas.model import Names, PretrainedWeights, WeightsReport
from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.arguments import invalid
from trainer_core.checkpoints.artifacts import WEIGHTS_FILE
from trainer_core.checkpoints.tensor_file import read_tensors
from trainer_core.failure import Failure
from trainer_core.loop.preparing.prefixes import Shapes, best_prefixes, renamed

_POINTER = "/modelConfig/weights"
# Under which the state of a model is kept in the files that training scripts write, the commonest first.
_INSIDE = ("state_dict", "model_state_dict", "model", "model_state", "weights", "params", "module", "net")
# Counted since torch 1.0 alone, and read by nothing but a momentum of None.
_UNIMPORTANT = "num_batches_tracked"


def load_weights(model: nn.Module, wanted: PretrainedWeights) -> WeightsReport:
    """Put into ``model`` each tensor of the file that it has an equal of, by name and shape; what was and what was not.

    Raises Failure ``input_invalid`` for a file that cannot be read and where nothing matches, with the prefixes that
    would; with ``strict`` also where anything is only on one side.
    """
    file = read_weights(Path(wanted.path))
    found = {renamed(name, wanted.strip_prefix, wanted.add_prefix): tensor for name, tensor in file.items()}
    own = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    common = [name for name in found if name in own]
    matched = {name: found[name] for name in common if is_lazy(own[name]) or own[name].shape == found[name].shape}
    report = WeightsReport(
        path=wanted.path,
        matched=len(matched),
        missing=Names.of([name for name in own if name not in found and not name.endswith(_UNIMPORTANT)]),
        unexpected=Names.of([name for name in found if name not in own]),
        wrong_shape=Names.of([_differing(name, own[name], found[name]) for name in common if name not in matched]),
    )
    if not matched:
        raise _nothing_matched(wanted, _shapes(file), _shapes(own))
    if wanted.strict:
        _refuse_differences(report)
    try:
        model.load_state_dict(matched, strict=False)
    except RuntimeError as error:
        message = f"The model does not take the weights of {wanted.path}."
        raise Failure("model_invalid", message, place=Place(pointer=_POINTER), detail=str(error)) from error
    return report


def alerts_of(report: WeightsReport) -> list[Alert]:
    """What a person should know of weights that were taken in part; nothing when all of the model has its values."""
    left = report.missing.count + report.wrong_shape.count
    if not left:
        return []
    parts = [("the file does not have", report.missing), ("have another shape there", report.wrong_shape)]
    named = "; ".join(f"{names.count} {what}: {_listed(names)}" for what, names in parts if names.count)
    return [
        Alert(
            code="weights_partly_loaded",
            level="warning",
            message=f"{report.matched} tensors come from {Path(report.path).name}, {left} are left as the model file built "
            f"them ({named}).",
            evidence=report.to_json(),
            remedy="Right for a new head. Else look at modelConfig.weights.stripPrefix and addPrefix, or the model's arguments.",
        )
    ]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors in ``path``, by name, on the CPU: a .safetensors file, a file of torch.save that holds tensors alone (in
    a dict, or in one inside it, such as ``state_dict``), a checkpoint's folder, or a run's. Nothing in it is executed.

    Raises Failure ``input_invalid``.
    """
    file = _file_of(path)
    if file.suffix == ".safetensors":
        try:
            return read_tensors(file)
        except (SafetensorError, OSError) as error:
            raise invalid(_POINTER, f"{file} is no safetensors file.", detail=str(error)) from error
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = f"{file} is no file of tensors alone: it holds Python objects, which would be executed, or is no torch.save."
        move = "Save model.state_dict() instead, with torch.save or safetensors."
        raise invalid(_POINTER, message, next_move=move, detail=str(error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise invalid(_POINTER, f"{file} cannot be read as weights.", detail=str(error)) from error
    tensors = _state_in(content)
    if not tensors:
        raise invalid(_POINTER, f"{file} holds no dict of tensors, nor one under {', '.join(_INSIDE)}.")
    return tensors


def _file_of(path: Path) -> Path:
    """The file of weights that ``path`` means: itself, that of a checkpoint, of a run's best checkpoint, or its newest."""
    if path.name in (BEST, LATEST) and path.is_file():
        path = path.with_name(path.read_text().strip())
    if path.is_file():
        return path
    if not path.exists():
        raise invalid(_POINTER, f"{path} does not exist.")
    named = [path / (path / name).read_text().strip() for name in (BEST, LATEST) if (path / name).is_file()]
    file = next((folder / WEIGHTS_FILE for folder in (path, *named) if (folder / WEIGHTS_FILE).is_file()), None)
    if file is None:
        raise invalid(_POINTER, f"The folder {path} is no checkpoint or run: it has no {WEIGHTS_FILE}.")
    return file


def _state_in(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return tensors or next((state for key in _INSIDE if (state := _state_in(content.get(key)))), {})


def _nothing_matched(wanted: PretrainedWeights, file: Shapes, own: Shapes) -> Failure:
    theirs, ours = (", ".join(list(names)[:3]) for names in (file, own))
    prefixes = best_prefixes(file, own)
    fix = None
    move = "Name weights of this model, or give the model the names that the file has."
    if prefixes is not None:
        strip, add, count = prefixes
        changed = wanted.model_copy(update={"strip_prefix": strip, "add_prefix": add})
        fix = [PatchOperation(op="add", path=_POINTER, value=changed.to_json())]
        move = f"Set stripPrefix to {strip!r} and addPrefix to {add!r}: {count} of {len(file)} tensors match then."
    failure = invalid(
        _POINTER,
        f"No tensor of {wanted.path} matches the model: it has {theirs} ...; the model {ours} ....",
        next_move=move,
    )
    failure.error = failure.error.model_copy(update={"fix": fix})
    return failure


def _refuse_differences(report: WeightsReport) -> None:
    sides = (("missing", report.missing), ("unexpected", report.unexpected), ("of another shape", report.wrong_shape))
    wrong = [f"{names.count} {what} ({_listed(names)})" for what, names in sides if names.count]
    if wrong:
        failure = invalid(
            _POINTER,
            f"The weights of {report.path} are not those of the model: {'; '.join(wrong)}.",
            next_move="Set strict to false to begin from what matches, or name weights of this model.",
        )
        fix = [PatchOperation(op="add", path=f"{_POINTER}/strict", value=False)]
        failure.error = failure.error.model_copy(update={"fix": fix})
        raise failure


def _differing(name: str, own: Tensor, found: Tensor) -> str:
    return f"{name} {list(found.shape)}, in the model {list(own.shape)}"


def _listed(names: Names) -> str:
    more = names.count - 3
    return ", ".join(names.first[:3]) + (f" and {more} more" if more > 0 else "")


def _shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: () if is_lazy(tensor) else tuple(tensor.shape) for name, tensor in tensors.items()}
