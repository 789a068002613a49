"""One forward pass and its loss: the only place of the loop where the user's code runs."""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from schemas.model import ModelConfig
from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure
from trainer_core.loop.alignment import count_scores
from trainer_core.loop.losses import Loss
from trainer_core.loop.odd_data import channels_last, lowest_class, odd_mark
from trainer_core.loop.precision import Precision
from trainer_core.loop.preparing.determinism import without_deterministic_form
from trainer_core.loop.ranks import is_lost_peer
from trainer_core.loop.trees import call, shapes, types
from trainer_core.models.choice import own_classes
from trainer_core.models.file import ModelFile
from trainer_core.models.user_code import running

OUTPUT_ARGUMENTS = (
    "num_classes",
    "n_classes",
    "classes",
    "num_labels",
    "n_labels",
    "num_outputs",
    "n_outputs",
    "output_dim",
    "out_features",
    "out_dim",
    "output_size",
)
FEATURE_ARGUMENTS = (
    "in_features",
    "num_features",
    "n_features",
    "features",
    "input_dim",
    "in_dim",
    "input_size",
    "num_inputs",
    "n_inputs",
)
# What torch raises for a class number without a score, and in batch normalisation of one value.
_OUT_OF_BOUNDS = re.compile(r"^Target (-?\d+) is out of bounds")
BATCH_SIZE = "/dataConfig/batchSize"
# And where a layer is of another type than what it is given.
_OF_TYPES = re.compile(
    r"should be the same$|must have the same dtype|same dtype, but got|expected scalar type|expected .* to have type",
    re.M,
)
_ONE_SAMPLE = "Expected more than 1 value per channel"
CHANNEL_ARGUMENTS = ("in_channels", "channels", "num_channels", "n_channels", "in_chans")


@dataclass(slots=True)
class Pass:
    """What came out: the model's output, the sum of losses, and the number (or weight) of targets in it."""

    output: Any
    loss_sum: Tensor
    count: Tensor


class Forward:
    """Calls a network and the loss; whatever the user's code raises is told with its file, line and shapes."""

    def __init__(self, loss: Loss, precision: Precision, model_file: ModelFile, config: ModelConfig) -> None:
        self._loss = loss
        self._precision = precision
        self._file = model_file
        self._config = config
        self._running = running(model_file.path, "model_invalid", "running the model")
        self._learning = running(model_file.path, "model_invalid", "computing gradients")

    def __call__(self, network: nn.Module, inputs: Any, targets: Any) -> Pass:
        """One pass. Raises Failure ``model_invalid``, or ``out_of_memory``."""
        try:
            with self._running, self._precision.autocast():
                output = call(network, inputs)
                loss_sum, count = self._loss(output, targets)
        except Failure as failure:
            told = _cause_elsewhere(failure) or without_deterministic_form(failure)
            raise told or self._explained(failure, inputs, targets) from failure.__cause__
        return Pass(output, loss_sum, count)

    def output(self, network: nn.Module, inputs: Any) -> Any:
        """The network's output alone; raises as a whole pass does."""
        try:
            with self._running, self._precision.autocast():
                return call(network, inputs)
        except Failure as failure:
            raise without_deterministic_form(failure) or self._explained(failure, inputs, None) from failure.__cause__

    def backward(self, loss: Tensor, scale: float = 1.0) -> None:
        """Add the gradients of ``scale`` times ``loss``. Raises Failure ``model_invalid`` where it has none, and for what the user's own
        backward pass raises."""
        if not loss.requires_grad:
            raise Failure(
                "model_invalid",
                "The loss has no gradient: no trainable parameter is part of it.",
                next_move="Let the loss depend on the output without detach(), item() or no_grad(), and leave at least one "
                "parameter with requires_grad=True.",
                place=Place(path=str(self._file.path)),
            )
        try:
            with self._learning:
                self._precision.backward(loss, scale)
        except Failure as failure:
            raise _cause_elsewhere(failure) or without_deterministic_form(failure) or failure from failure.__cause__

    def check_count(self, passed: Pass) -> None:
        """Raise ``model_invalid`` when the model file's own loss counts fewer than no targets."""
        if bool(passed.count < 0):
            raise Failure(
                "model_invalid",
                f"The model file's loss counted {passed.count.item():g} targets.",
                next_move="Return a pair (sum, count) whose count is 0 or more.",
                place=Place(path=str(self._file.path)),
            )

    def check_outputs(self, output: Any, targets: Any, classes: int, all_targets: NDArray | None = None) -> None:
        """Raise ``model_invalid`` when ``output`` has no score for one of ``classes`` class numbers, which are those of
        ``all_targets`` where they are known.

        On a GPU such a target ends the process by an assertion on the device; it is asked before. The model file's own
        loss may make of outputs what it likes.
        """
        scores = None if self._loss.is_own else count_scores(output, targets)
        if scores is None or scores >= classes:
            return
        mark, lowest = odd_mark(all_targets, scores), lowest_class(all_targets)
        shifted = lowest > 0 and classes - lowest == scores
        fix = None if mark is not None or shifted else self._fix(OUTPUT_ARGUMENTS, classes)
        otherwise = f"Let the model give {classes} scores per sample."
        if shifted:
            otherwise = f"Number the classes from 0: here they begin with {lowest}."
        if mark is not None:
            otherwise = f"Where {mark} marks what does not count, set trainingConfig.lossArgs.ignore_index to {mark}. {otherwise}"
        raise Failure(
            "model_invalid",
            f"The model gives {scores} scores per sample, but the data have {classes} classes.",
            next_move=_next_move(fix, otherwise),
            place=Place(path=str(self._file.path), pointer="/modelConfig/args" if fix else None),
            fix=fix,
        )

    def _explained(self, failure: Failure, inputs: Any, targets: Any) -> Failure:
        cause = failure.__cause__
        if cause is None or is_out_of_memory(cause):
            return failure
        got = f"inputs of shape {shapes(inputs)}" + (
            f" and targets of shape {shapes(targets)}" if targets is not None else ""
        )
        wrong_class = _OUT_OF_BOUNDS.search(str(cause)) if isinstance(cause, IndexError) else None
        if wrong_class:
            return _no_such_class(wrong_class.group(1), got, failure)
        if isinstance(cause, ValueError) and _ONE_SAMPLE in str(cause):
            return _one_sample(got, failure)
        otherwise = "Mend the model at the named line; the error's text is in untrusted."
        fix = None
        if isinstance(cause, RuntimeError) and self._precision.name == "fp32" and _OF_TYPES.search(str(cause)):
            otherwise = (
                f"The inputs are {types(inputs)}: convert them at the named line (x.to(self.layer.weight.dtype)), or save "
                + ("the data as floating-point numbers." if "int" in types(inputs) else "the model in that type.")
            )
        elif isinstance(cause, RuntimeError) and channels_last(inputs):
            otherwise = "The channels stand last: save the images as (N, C, H, W), or permute(0, 3, 1, 2) them at the named line."
        elif isinstance(cause, RuntimeError):
            fix = self._input_fix(inputs)
        return Failure(
            "model_invalid",
            f"{failure.error.message[:-1]}, given {got}.",
            next_move=_next_move(fix, otherwise),
            place=failure.error.place,
            fix=fix,
            detail=failure.error.untrusted,
        )

    def _input_fix(self, inputs: Any) -> list[PatchOperation] | None:
        if not isinstance(inputs, Tensor) or inputs.ndim < 2:
            return None
        if inputs.ndim == 2:
            return self._fix(FEATURE_ARGUMENTS, inputs.shape[1])
        return self._fix(CHANNEL_ARGUMENTS, inputs.shape[1])

    def _fix(self, names: tuple[str, ...], value: int) -> list[PatchOperation] | None:
        """The patch that gives the builder's argument among ``names`` this ``value``; None when it has none, or has it."""
        given = self._config.args
        parameters = _parameters(self._file, self._config)
        name = next((name for name in names if name in parameters), None)
        if name is None or given.get(name, parameters[name]) == value:
            return None
        changed = self._config.model_copy(update={"args": {**given, name: value}})
        return [PatchOperation(op="add", path="/modelConfig", value=changed.given())]


def _cause_elsewhere(failure: Failure) -> BaseException | None:
    """What is behind a failure that is not the model's: another rank is gone."""
    cause = failure.__cause__
    return cause if cause is not None and is_lost_peer(cause) else None


def _no_such_class(number: str, got: str, failure: Failure) -> Failure:
    """The failure of a target that torch's cross-entropy has no score for."""
    return Failure(
        "data_invalid",
        f"A target is class number {number}, for which the model has no score, given {got}.",
        next_move="Number the classes from 0, give the model a score for each, or set trainingConfig.lossArgs.ignore_index.",
        place=failure.error.place,
        detail=failure.error.untrusted,
    )


def _one_sample(got: str, failure: Failure) -> Failure:
    """The failure of a batch normalisation that has one value to normalise."""
    return Failure(
        "model_invalid",
        f"Batch normalisation cannot learn from a single sample, given {got}.",
        next_move="Set dataConfig.batchSize so that no device gets a single sample, in the last batch of an epoch neither.",
        place=Place(path=str(failure.error.place.path) if failure.error.place else None, pointer=BATCH_SIZE),
        detail=failure.error.untrusted,
    )


def _parameters(model_file: ModelFile, config: ModelConfig) -> dict[str, object]:
    """Arguments of what builds the model, by name, with their defaults."""
    own = own_classes(model_file.module, nn.Module)
    name = config.class_name or ("build_model" if hasattr(model_file.module, "build_model") else next(iter(own), ""))
    builder: Callable[..., object] | None = getattr(model_file.module, name, None)
    if not callable(builder):
        return {}
    return {key: parameter.default for key, parameter in inspect.signature(builder).parameters.items()}


def _next_move(fix: list[PatchOperation] | None, otherwise: str) -> str:
    if not fix:
        return otherwise
    return f"Set modelConfig.args to {fix[0].value['args']}, as the fix does."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out: on a GPU a class of its own, on a CPU a RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def shortage(error: BaseException) -> str | None:
    """The text of ``error`` when it, or what it was made of, says that memory ran out; else None."""
    cause = error.__cause__ if isinstance(error, Failure) else error
    return str(cause) if cause is not None and is_out_of_memory(cause) else None


@contextmanager
def telling_out_of_memory(batch_size: int, accumulation: int) -> Iterator[None]:
    """What runs inside may run out of memory; then a Failure says which request would need less."""
    try:
        yield
    except (Failure, RuntimeError, MemoryError) as error:
        text = shortage(error)
        if text is None:
            raise
        fix = None
        if batch_size > 1:
            fix = [
                PatchOperation(op="add", path=BATCH_SIZE, value=batch_size // 2),
                PatchOperation(op="add", path="/trainingConfig/gradientAccumulation", value=accumulation * 2),
            ]
        raise Failure(
            "out_of_memory",
            f"Memory ran out with batchSize {batch_size} and gradientAccumulation {accumulation}.",
            next_move=None if fix else "One sample does not fit: make the model or its inputs smaller.",
            place=Place(pointer=BATCH_SIZE),
            fix=fix,
            detail=text,
        ) from error
