"""Losses as a sum and a count, so that a batch may be cut, gathered and weighted without changing its mean.

For every loss, sum / count equals torch's mean-reduced loss of the same name.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from schemas.arguments import given_of
from schemas.losses import LOSSES, LossEntry, Task, default_loss, find_loss
from schemas.problems import PatchOperation
from schemas.result import Place
from schemas.training import TrainingConfig
from trainer_core.arguments import Arguments, invalid
from trainer_core.failure import Failure
from trainer_core.loop.alignment import align_classes, align_values, one_tensor

_POINTER = "/trainingConfig/lossArgs"
IGNORED = -100
OWN = "model file"
# The loss of log-probabilities (M, C) and classes (M,), and the sum of the weights of the classes that count.
_NEGATIVE_LOG_LIKELIHOOD = torch.ops.aten.nll_loss_forward.default
_SUM = 2

SumAndCount = tuple[Tensor, Tensor]


class Loss:
    """A loss by ``name`` (``is_own``: the model file's); targets equal to ``ignore_index`` do not count (classification only)."""

    def __init__(self, name: str, function: Callable[[Any, Any], SumAndCount], ignore_index: int = IGNORED) -> None:
        self.name = name
        self.ignore_index = ignore_index
        self.is_own = name == OWN
        self._function = function

    def __call__(self, output: Any, targets: Any) -> SumAndCount:
        """The sum of the losses, with gradient, and what to divide it by (targets, or their weights): two scalars on
        the device, in float32 or better, without a sync. A batch with nothing to learn from is (0, 0).

        Raises Failure ``model_invalid`` where outputs and targets do not fit together.
        """
        return self._function(output, targets)


def build_loss(
    training: TrainingConfig, task: Task, model_file_loss: Callable[[Any, Any], Any] | None, device: torch.device
) -> Loss:
    """The loss called ``trainingConfig.loss``; absent: the model file's own, else the task's.

    Raises Failure ``input_invalid`` for an unknown name, a loss of another task, and wrong arguments.
    """
    if training.loss is None and model_file_loss is not None:
        _refuse_arguments(training)
        return Loss(OWN, _count_samples(model_file_loss))
    entry = find_loss(training.loss) if training.loss else default_loss(task)
    if entry is None:
        names = ", ".join(entry.name for entry in LOSSES)
        raise invalid("/trainingConfig/loss", f"There is no loss {training.loss!r}; there are: {names}.")
    if task not in entry.tasks:
        fitting = ", ".join(other.name for other in LOSSES if task in other.tasks)
        message = f"{entry.name} is a loss for {' and '.join(entry.tasks)}, and this task is {task}; take {fitting}."
        raise invalid("/trainingConfig/loss", message)
    return _build_named(entry, training, device)


def _refuse_arguments(training: TrainingConfig) -> None:
    if given_of(training.loss_args):
        raise invalid(_POINTER, "The model file's own loss takes no lossArgs: set them there, or name a loss.")
    if training.label_smoothing:
        raise invalid("/trainingConfig/labelSmoothing", "Label smoothing is for cross_entropy only.")


def _build_named(entry: LossEntry, training: TrainingConfig, device: torch.device) -> Loss:
    arguments = Arguments(entry, training.loss_args, _POINTER)
    if training.label_smoothing and not entry.label_smoothing:
        smoothing = ", ".join(other.name for other in LOSSES if other.label_smoothing)
        message = f"Label smoothing is for {smoothing} only, and the loss is {entry.name}."
        raise invalid("/trainingConfig/labelSmoothing", message)
    return _BUILDERS[entry.name](arguments, training.label_smoothing, device)


def _build_cross_entropy(arguments: Arguments, smoothing: float, device: torch.device) -> Loss:
    ignored: int = arguments["ignore_index"]
    function = _cross_entropy(_weights(arguments["weight"], device), ignored, smoothing)
    return Loss("cross_entropy", _of_tensors(function), ignored)


def _build_focal(arguments: Arguments, _smoothing: float, device: torch.device) -> Loss:
    return Loss("focal", _of_tensors(_focal(arguments["gamma"], _weights(arguments["alpha"], device))))


def _build_bce(arguments: Arguments, _smoothing: float, device: torch.device) -> Loss:
    return Loss("bce", _of_tensors(_bce(_weights(arguments["pos_weight"], device))))


def _build_mse(_arguments: Arguments, _smoothing: float, _device: torch.device) -> Loss:
    return Loss("mse", _of_tensors(_by_element(functional.mse_loss)))


def _build_l1(_arguments: Arguments, _smoothing: float, _device: torch.device) -> Loss:
    return Loss("l1", _of_tensors(_by_element(functional.l1_loss)))


def _build_huber(arguments: Arguments, _smoothing: float, _device: torch.device) -> Loss:
    return Loss("huber", _of_tensors(_by_element(functional.huber_loss, delta=arguments["delta"])))


_BUILDERS: dict[str, Callable[[Arguments, float, torch.device], Loss]] = {
    "cross_entropy": _build_cross_entropy,
    "focal": _build_focal,
    "bce": _build_bce,
    "mse": _build_mse,
    "l1": _build_l1,
    "huber": _build_huber,
}


def _weights(given: float | list[float] | None, device: torch.device) -> Tensor | None:
    """A number as a 0-d tensor, a list as a 1-d one."""
    return None if given is None else torch.tensor(given, device=device)


def _of_tensors(function: Callable[[Tensor, Tensor], SumAndCount]) -> Callable[[Any, Any], SumAndCount]:
    return lambda output, targets: function(one_tensor(output, "outputs"), one_tensor(targets, "targets"))


def _fit_weights(weights: Tensor | None, classes: int, name: str) -> Tensor | None:
    if weights is None or weights.shape == (classes,):
        return weights
    got = f"{len(weights)} numbers" if weights.ndim else "one number"
    raise invalid(f"{_POINTER}/{name}", f"{name} has {got}, and the model has {classes} outputs.")


def _cross_entropy(weight: Tensor | None, ignored: int, smoothing: float) -> Callable[[Tensor, Tensor], SumAndCount]:
    """torch.nn.functional.cross_entropy: its mean divides by the weights of the targets' classes, smoothed or not,
    and by the number of samples where the targets are probabilities."""

    def function(output: Tensor, targets: Tensor) -> SumAndCount:
        if targets.is_floating_point() and targets.shape == output.shape:
            return _soft_cross_entropy(output, targets, weight, smoothing)
        logits, classes = align_classes(output, targets)
        weights = _fit_weights(weight, logits.shape[1], "weight")
        weights = None if weights is None else weights.to(logits.dtype)
        classes = classes.long()
        # What is in functional.cross_entropy; it keeps the count to itself.
        total, count = _NEGATIVE_LOG_LIKELIHOOD(torch.log_softmax(logits, 1), classes, weights, _SUM, ignored)
        if smoothing:
            total = functional.cross_entropy(
                logits, classes, weights, ignore_index=ignored, reduction="sum", label_smoothing=smoothing
            )
        return total, count

    return function


def _soft_cross_entropy(output: Tensor, targets: Tensor, weight: Tensor | None, smoothing: float) -> SumAndCount:
    weights = _fit_weights(weight, output.shape[1], "weight")
    total = functional.cross_entropy(output, targets, weights, reduction="sum", label_smoothing=smoothing)
    return total, torch.full_like(total, output.numel() // output.shape[1], requires_grad=False)


def _focal(gamma: float, alpha: Tensor | None) -> Callable[[Tensor, Tensor], SumAndCount]:
    """-alpha_t (1 - p_t)^gamma log p_t (Lin et al. 2017, equation 5), p_t the softmax of the target's class.

    ``alpha`` has a number for each class; a single number, with two classes, is that of class 1 against 1 - alpha
    of class 0, as in the paper. The mean is over the targets that are not ignored.
    """

    def function(output: Tensor, targets: Tensor) -> SumAndCount:
        logits, classes = align_classes(output, targets)
        shares = alpha
        if shares is not None and shares.ndim == 0 and logits.shape[1] == 2:
            shares = torch.stack((1 - shares, shares))
        shares = _fit_weights(shares, logits.shape[1], "alpha")
        counted = classes != IGNORED
        index = torch.where(counted, classes, 0).long()
        log_p = functional.log_softmax(logits, dim=1).gather(1, index[:, None]).squeeze(1)
        # Not 1 - exp: that is 0 for a sample still worth learning from. And at 0 itself a power below 1 has no slope.
        doubt = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
        losses = -(doubt**gamma) * log_p
        if shares is not None:
            losses = losses * shares[index]
        total = torch.where(counted, losses, 0.0).sum()
        return total, counted.sum().to(total.dtype)

    return function


def _bce(pos_weight: Tensor | None) -> Callable[[Tensor, Tensor], SumAndCount]:
    def function(output: Tensor, targets: Tensor) -> SumAndCount:
        if output.shape == (*targets.shape, 2):
            raise _two_scores(output, targets)
        logits, wanted = align_values(output, targets)
        total = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum", pos_weight=pos_weight)
        return total, _size(total, logits)

    return function


def _two_scores(output: Tensor, targets: Tensor) -> Failure:
    """The failure of a model with a score for each of two classes, where one logit was expected."""
    return Failure(
        "model_invalid",
        f"Outputs of shape {tuple(output.shape)} do not fit targets of shape {tuple(targets.shape)}: there are two scores for "
        "each target, and the task binary wants one logit.",
        next_move="Set trainingConfig.task to classification, or let the model give one number.",
        place=Place(pointer="/trainingConfig/task"),
        fix=[PatchOperation(op="add", path="/trainingConfig/task", value="classification")],
    )


def _by_element(function: Callable[..., Tensor], **options: float) -> Callable[[Tensor, Tensor], SumAndCount]:
    def sum_and_count(output: Tensor, targets: Tensor) -> SumAndCount:
        values, wanted = align_values(output, targets)
        total = function(values, wanted, reduction="sum", **options)
        return total, _size(total, values)

    return sum_and_count


def _size(total: Tensor, values: Tensor) -> Tensor:
    return torch.full_like(total, values.numel(), requires_grad=False)


def _count_samples(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], SumAndCount]:
    """The model file's ``loss(output, targets)``: a mean over the samples, or a pair (sum, count)."""

    def sum_and_count(output: Any, targets: Any) -> SumAndCount:
        result = function(output, targets)
        if isinstance(result, tuple) and len(result) == 2:
            total = _scalar(result[0])
            count = torch.as_tensor(result[1], dtype=total.dtype, device=total.device)
            return total, count.detach().reshape(())
        mean = _scalar(result)
        samples = _number_of_samples(targets)
        return mean * samples, torch.full_like(mean, samples, requires_grad=False)

    return sum_and_count


def _scalar(value: object) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise Failure(
            "model_invalid",
            f"The model file's loss returned {got}.",
            next_move="Return the mean loss as a scalar tensor, or a pair (sum, count).",
        )
    if value.is_complex():
        raise Failure(
            "model_invalid", "The model file's loss returned a complex number.", next_move="Return a real number."
        )
    value = value.reshape(())
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _number_of_samples(targets: Any) -> int:
    """Length of the first tensor in ``targets``."""
    found = targets
    while not isinstance(found, Tensor):
        values = list(found.values()) if isinstance(found, dict) else found
        if not isinstance(values, list | tuple) or not values:
            raise Failure(
                "model_invalid",
                f"Targets of type {type(targets).__name__} cannot be counted.",
                next_move="Let the model file's loss return a pair (sum, count).",
            )
        found = values[0]
    return found.shape[0] if found.ndim else 1
