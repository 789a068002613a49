"""Model outputs and targets brought to one shape, or refused: nothing is broadcast by accident."""

import torch
from torch import Tensor

from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


def one_tensor(value: object, what: str) -> Tensor:
    """``value`` as the one tensor that built-in losses and figures work on; floats in half precision become float32.

    Raises Failure ``model_invalid`` for anything but a tensor.
    """
    if not isinstance(value, Tensor):
        raise Failure(
            "model_invalid",
            f"The {what} are a {type(value).__name__}, and the built-in losses want one tensor.",
            next_move="Return one tensor, or define loss(output, targets) in the model file.",
        )
    if value.is_complex():
        raise Failure(
            "model_invalid",
            f"The {what} are complex numbers, and the built-in losses want real ones.",
            next_move="Return real numbers (abs(), torch.view_as_real), or define loss(output, targets) in the model file.",
        )
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def align_classes(output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits as (M, C) and class indices as (M,).

    Takes (N, C) with (N,) or (N, 1), sequences (N, ..., C) with (N, ...), and torch's own order (N, C, ...) with (N, ...).
    Where both readings fit, three dimensions are read as a sequence (N, T, C), more as an image (N, C, H, W).
    Raises Failure ``model_invalid`` where none fits.
    """
    if targets.is_floating_point():
        raise _misfit(output, targets, "class indices must be whole numbers")
    if targets.ndim == 2 and targets.shape[1] == 1 and output.ndim == 2:
        targets = targets[:, 0]
    if output.ndim == 2 and output.shape[:1] == targets.shape:
        # As they should be: each view of the output would be one more operation in both passes.
        return output, targets
    is_last = output.ndim > 1 and output.shape[:-1] == targets.shape
    is_second = output.ndim > 1 and (output.shape[0], *output.shape[2:]) == tuple(targets.shape)
    if is_second and not (is_last and output.ndim == 3):
        output = output.movedim(1, -1)
    elif not is_last:
        if output.shape == targets.shape:
            raise _several_labels(output, targets)
        raise _misfit(output, targets, "classification wants outputs (N, C) for targets (N,)")
    return output.reshape(-1, output.shape[-1]), targets.reshape(-1)


def count_scores(output: object, targets: object) -> int | None:
    """Scores per target, C of ``align_classes``; None for what does not fit together, and for targets that are no class
    numbers."""
    if not isinstance(output, Tensor) or not isinstance(targets, Tensor) or targets.is_floating_point():
        return None
    try:
        return align_classes(output, targets)[0].shape[1]
    except Failure:
        return None


def align_values(output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the targets' shape and the outputs' type; they may differ in dimensions of size 1, as (N, 1) and (N,).

    Raises Failure ``model_invalid`` otherwise.
    """
    if output.shape != targets.shape:
        if _without_ones(output) != _without_ones(targets):
            raise _misfit(output, targets, "they must be the same, up to dimensions of size 1")
        output = output.reshape(targets.shape)
    return output, targets.to(output.dtype)


def _without_ones(tensor: Tensor) -> list[int]:
    return [*tensor.shape[:1], *(size for size in tensor.shape[1:] if size != 1)]


def _several_labels(output: Tensor, targets: Tensor) -> Failure:
    """The failure of outputs that are one for each target, where classes want a score for each class."""
    return Failure(
        "model_invalid",
        f"Outputs of shape {_shape(output)} do not fit targets of shape {_shape(targets)}, {targets.dtype}: there is one number "
        "for each target, and classification wants a score for each class.",
        next_move="Set trainingConfig.task to binary where each target is yes or no (several labels for each sample), to "
        "regression where it is an amount.",
        place=Place(pointer="/trainingConfig/task"),
        fix=[PatchOperation(op="add", path="/trainingConfig/task", value=_meant(targets))],
    )


def _meant(targets: Tensor) -> str:
    return "binary" if bool(((targets == 0) | (targets == 1)).all()) else "regression"


def _misfit(output: Tensor, targets: Tensor, rule: str) -> Failure:
    return Failure(
        "model_invalid",
        f"Outputs of shape {_shape(output)} do not fit targets of shape {_shape(targets)}, {targets.dtype}: {rule}.",
        next_move="Change the model's last layer, or set trainingConfig.task or trainingConfig.loss.",
    )
