"""``step()`` of a fused optimizer on a CPU as one call of its kernel for each group of parameters.

Torch's own step looks up its state, sorts tensors by device and type and opens a range for the profiler at every call: for
six small tensors that takes four times as long as the kernel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer


@dataclass(frozen=True)
class _Group:
    """Parameters and their state, by name, in one order. ``options`` is the optimizer's own group: a new rate shows there."""

    options: dict[str, Any]
    parameters: list[Tensor]
    state: dict[str, list[Tensor]]


_Kernel = Callable[[_Group, list[Tensor]], None]


class DirectStep:
    """Steps ``optimizer`` exactly as its own ``step`` does, which it calls where the short way is closed: at the first
    step, when there is no state yet, when a parameter got no gradient, and when a gradient scaler says (as ``found_inf``)
    whether to leave the step out. Hooks of the optimizer are not called."""

    def __init__(self, optimizer: Optimizer, kernel: _Kernel) -> None:
        self._optimizer = optimizer
        self._own_step: Callable[[], object] = optimizer.step
        self._kernel = kernel
        self._state: object = None
        self._groups: list[_Group] = []
        self._counts: list[Tensor] = []
        # What is added to the counts: a number would be made a tensor for each of them.
        self._ones: list[Tensor] = []

    def __call__(self) -> None:
        """Take one step."""
        # Loading puts another object in its place.
        if self._state is not self._optimizer.state:
            self._own_step()
            self._look_up()
            return
        if hasattr(self._optimizer, "found_inf"):
            self._own_step()
            return
        gradients: list[list[Tensor]] = []
        for group in self._groups:
            found = [parameter.grad for parameter in group.parameters if parameter.grad is not None]
            if len(found) != len(group.parameters):
                self._own_step()
                return
            gradients.append(found)
        # As torch.no_grad() does, which takes four calls of Python for it.
        recording = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        try:
            if self._counts:
                torch._foreach_add_(self._counts, self._ones)
            for group, found in zip(self._groups, gradients, strict=True):
                self._kernel(group, found)
        finally:
            torch._C._set_grad_enabled(recording)

    def _look_up(self) -> None:
        """Note where parameters and their state are, once every parameter has one."""
        self._groups = [_group(self._optimizer, options) for options in self._optimizer.param_groups]
        if all(len(tensors) == len(group.parameters) for group in self._groups for tensors in group.state.values()):
            self._state = self._optimizer.state
            self._counts = [count for group in self._groups for count in group.state.get("step", [])]
            self._ones = [torch.ones_like(self._counts[0])] * len(self._counts) if self._counts else []


def _group(optimizer: Optimizer, options: dict[str, Any]) -> _Group:
    names = _state_names(optimizer, options)
    known = [optimizer.state.get(parameter, {}) for parameter in options["params"]]
    state = {name: [entry[name] for entry in known if entry.get(name) is not None] for name in names}
    return _Group(options, options["params"], state)


def _state_names(optimizer: Optimizer, options: dict[str, Any]) -> list[str]:
    if isinstance(optimizer, SGD):
        return ["momentum_buffer"] if options["momentum"] else []
    return ["step", "exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if options["amsgrad"] else [])]


def _step_adam(group: _Group, gradients: list[Tensor]) -> None:
    options, state = group.options, group.state
    kernel = torch._fused_adamw_ if options["decoupled_weight_decay"] else torch._fused_adam_
    kernel(
        group.parameters,
        gradients,
        state["exp_avg"],
        state["exp_avg_sq"],
        state.get("max_exp_avg_sq", []),
        state["step"],
        lr=options["lr"],
        beta1=options["betas"][0],
        beta2=options["betas"][1],
        weight_decay=options["weight_decay"],
        eps=options["eps"],
        amsgrad=options["amsgrad"],
        maximize=options["maximize"],
    )


def _step_sgd(group: _Group, gradients: list[Tensor]) -> None:
    options = group.options
    torch._fused_sgd_(
        group.parameters,
        gradients,
        group.state.get("momentum_buffer", []),
        lr=options["lr"],
        momentum=options["momentum"],
        dampening=options["dampening"],
        weight_decay=options["weight_decay"],
        nesterov=options["nesterov"],
        maximize=options["maximize"],
        is_first_step=False,
    )


_KERNELS: dict[type[Optimizer], _Kernel] = {Adam: _step_adam, AdamW: _step_adam, SGD: _step_sgd}


def shorten_step(optimizer: Optimizer) -> None:
    """Let ``optimizer.step`` go the direct way where there is one: fused Adam, AdamW and SGD over parameters of one type on
    the CPU. All others stay as they are."""
    kernel = _KERNELS.get(type(optimizer))
    kinds = {(tensor.device.type, tensor.dtype) for group in optimizer.param_groups for tensor in group["params"]}
    if kernel is None or len(kinds) != 1 or kinds.pop()[0] != "cpu":
        return
    if all(group["fused"] for group in optimizer.param_groups):
        optimizer.step = DirectStep(optimizer, kernel)  # type: ignore[assignment, method-assign]
