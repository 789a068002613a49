"""What went wrong in a batch whose loss or gradient is not finite: the batch again, looked at from inside."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.data.samples import Indices, Samples
from trainer_core.failure import Failure
from trainer_core.loop.buffers import keeping_buffers
from trainer_core.loop.forward import Forward
from trainer_core.loop.randomness import untouched
from trainer_core.loop.recovery.memory import Memory
from trainer_core.loop.trees import as_tensors, leaves, map_tensors

_SHOWN = 20
_NOT_AGAIN = "every value was finite when the batch was run again, so it is their norm that overflows"


@dataclass(frozen=True)
class Finding:
    """``where`` the first value that is not finite stands (empty when none showed again); ``samples``, by index, that it
    belongs to (at most 20; all of the batch when it belongs to none alone); ``loss`` of the micro-batch where it showed, if
    it came to that; whether the data held it ``in_data``."""

    where: str
    samples: list[int]
    loss: float | None = None
    in_data: bool = False

    @property
    def words(self) -> str:
        """For a message."""
        return f"first {self.where}" if self.where else _NOT_AGAIN


class Examiner:
    """Runs a batch once more, module by module. Where the weights are still those before the step, it shows again."""

    def __init__(
        self, model: nn.Module, samples: Samples, forward: Forward, device: torch.device, memory: Memory
    ) -> None:
        self._model = model
        self._samples = samples
        self._forward = forward
        self._device = device
        self._memory = memory

    def examine(self, indices: Indices) -> Finding:
        """The first value that is not finite in inputs, outputs of modules, losses, and then gradients. Leaves generators and
        buffers as they were, and no gradients."""
        self._model.zero_grad()
        with untouched(self._device), keeping_buffers(self._model):
            finding = self._examine(indices)
        self._model.zero_grad()
        return finding

    def _examine(self, indices: Indices) -> Finding:
        for start in range(0, len(indices), self._memory.size):
            part = indices[start : start + self._memory.size]
            inputs, targets = (
                map_tensors(lambda tensor: tensor.to(self._device), side)
                for side in as_tensors(self._samples.take(part))
            )
            finding = self._examine_part(part, inputs, targets)
            if finding is not None:
                return finding
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
                return Finding(f"the gradient of {name}", indices[:_SHOWN].tolist())
        return Finding("", indices[:_SHOWN].tolist())

    def _examine_part(self, part: Indices, inputs: Any, targets: Any) -> Finding | None:
        for side, tree in (("the inputs", inputs), ("the targets", targets)):
            bad = _bad_rows(tree, len(part))
            if bad is not None:
                return Finding(f"{side} themselves", part[bad][:_SHOWN].tolist(), in_data=True)
        with _watching(self._model) as found:
            passed = self._forward(self._model, inputs, targets)
        loss = float(passed.loss_sum.detach() / passed.count)
        if found:
            where, output = found[0]
            bad = _bad_rows(output, len(part))
            return Finding(where, part[bad if bad is not None else slice(None)][:_SHOWN].tolist(), loss)
        if not bool(torch.isfinite(passed.loss_sum)):
            where = "the loss itself: the model's output was finite"
            return Finding(where, part[:_SHOWN].tolist(), loss)
        torch.autograd.backward(passed.loss_sum / len(part))
        return None


def diverged(finding: Finding, epoch: int, step: int, learning_rate: float, tried: str = "") -> Failure:
    """What to tell the caller of ``finding``, and of what was ``tried`` before."""
    loss = f" (the loss is {finding.loss:g})" if finding.loss is not None else ""
    fix = PatchOperation(op="add", path="/trainingConfig/learningRate", value=float(f"{learning_rate / 10:.3g}"))
    return Failure(
        "diverged",
        f"Loss or gradient was not finite in epoch {epoch}, step {step}, at learning rate {learning_rate:.3g}{loss}: "
        f"{finding.words}. The step was not taken; the weights are those before it.{tried}",
        next_move="Mend the samples named in untrusted, or leave them out." if finding.in_data else None,
        place=Place(epoch=epoch, step=step),
        fix=None if finding.in_data else [fix],
        detail=f"Samples of the batch (indices into the training data, at most {_SHOWN}): {finding.samples}",
    )


@contextmanager
def _watching(model: nn.Module) -> Iterator[list[tuple[str, Any]]]:
    """Collects what modules return that is not finite, in the order in which they return."""
    found: list[tuple[str, Any]] = []
    hooks = []
    for name, module in model.named_modules():
        where = f"the output of {name or 'the model'} ({type(module).__name__})"

        def look(_module: nn.Module, _inputs: Any, output: Any, where: str = where) -> None:
            if not found and _is_bad(output):
                found.append((where, output))

        hooks.append(module.register_forward_hook(look))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(tree: Any) -> list[Tensor]:
    # Detached: to look at one must leave nothing behind for the backward pass, which counts what a recomputed block keeps.
    found = (leaf.detach() for leaf in leaves(tree) if isinstance(leaf, Tensor))
    return [tensor for tensor in found if tensor.is_floating_point()]


def _is_bad(tree: Any) -> bool:
    return any(not bool(torch.isfinite(tensor).all()) for tensor in _tensors(tree))


def _bad_rows(tree: Any, rows: int) -> Indices | None:
    """Rows (along the first axis, of length ``rows``) that hold a value that is not finite; None when there are none, or
    when no row of its own holds it."""
    for tensor in _tensors(tree):
        if tensor.ndim and len(tensor) == rows:
            bad = torch.isfinite(tensor.detach()).logical_not().reshape(rows, -1).any(dim=1)
            if bool(bad.any()):
                return np.flatnonzero(bad.cpu().numpy())
    return None
