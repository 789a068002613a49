"""``torch.compile`` of the training pass, where it pays, and the way back where it fails."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from schemas.events import Alert
from trainer_core.data.samples import Samples
from trainer_core.failure import Failure
from trainer_core.loop.buffers import keeping_buffers
from trainer_core.loop.forward import Forward
from trainer_core.loop.randomness import untouched
from trainer_core.loop.trees import as_tensors, map_tensors

Mode = Literal["off", "on", "auto"]

# What compiling costs: seconds to begin with, and for each module that computes. What it brings: at the least this share
# of a step on a GPU. Auto wants twice the cost back. Estimates on the careful side: measure, and say "on".
_SECONDS = 20.0
_SECONDS_A_MODULE = 0.3
_SHARE = 0.1
_WANTED = 2.0
_PASSES = 3


class CompiledNetwork(nn.Module):
    """Calls ``model`` compiled for batches of a size that comes again, and as it is for one that does not: the short last
    batch of an epoch compiles nothing. Parameters and state are ``model``'s own."""

    def __init__(self, model: nn.Module, compiled: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self._compiled = compiled
        self._sizes: set[int] = set()
        self._latest = 0

    def admit(self, size: int) -> None:
        """Call the compiled form for batches of ``size`` from now on."""
        self._sizes.add(size)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What ``model`` gives."""
        size = _size_of(inputs, named)
        if size == self._latest:
            self._sizes.add(size)
        self._latest = size
        return (self._compiled if size in self._sizes else self.model)(*inputs, **named)


@dataclass(frozen=True)
class Compilation:
    """The network to call in training, whether it is compiled, and what to say of that."""

    network: nn.Module
    on: bool = False
    alerts: list[Alert] = field(default_factory=list)


def compile_network(
    model: nn.Module,
    mode: Mode,
    trial: "Trial",
    steps: int,
    *,
    backend: str = "inductor",
) -> Compilation:
    """``model``, compiled by ``backend`` when ``mode`` says so, for a run of ``steps`` forward passes.

    ``auto`` compiles on a GPU alone, and when a tenth of the run's steps, by the time that ``trial`` takes, is at least
    twice what compiling is expected to cost. It is compiled here, by one pass forward and backward; if that fails the run
    goes on with ``model`` as it is, and an alert says why.
    """
    if mode == "off" or (mode == "auto" and not _pays(model, trial, steps)):
        return Compilation(model)
    compiled: Any = torch.compile(model, backend=backend)
    # Its call alone: the module around it would give every parameter a second name.
    network = CompiledNetwork(model, compiled.__call__)
    network.admit(trial.size)
    began = time.monotonic()
    try:
        trial.run(network)
    except Failure as failure:
        return Compilation(model, alerts=[_failed(failure)])
    seconds = round(time.monotonic() - began, 1)
    message = f"The model is compiled (torch.compile, {backend}); that took {seconds:g} s."
    return Compilation(network, True, [Alert(code="compiled", level="info", message=message)])


@dataclass(frozen=True)
class Trial:
    """One pass of ``size`` training samples forward and backward. Parameters, buffers, gradients and generators are
    afterwards as they were."""

    samples: Samples
    forward: Forward
    size: int
    device: torch.device

    def run(self, network: nn.Module) -> list[str]:
        """Take it once; the trainable parameters that got no gradient, by name. Raises Failure for whatever goes wrong."""
        inputs, targets = (
            map_tensors(lambda tensor: tensor.to(self.device), side)
            for side in as_tensors(self.samples.take(np.arange(self.size)))
        )
        try:
            with untouched(self.device), keeping_buffers(network):
                self.forward.backward(self.forward(network, inputs, targets).loss_sum)
            trained = (item for item in network.named_parameters() if item[1].requires_grad)
            return [name for name, parameter in trained if parameter.grad is None]
        finally:
            network.zero_grad(set_to_none=True)

    def seconds(self, network: nn.Module) -> float:
        """The shortest of a few."""
        fastest = float("inf")
        for _ in range(_PASSES):
            began = time.perf_counter()
            self.run(network)
            torch.cuda.synchronize(self.device)
            fastest = min(fastest, time.perf_counter() - began)
        return fastest


def expected_to_pay(steps: int, seconds_a_step: float, modules: int) -> bool:
    """Whether compiling is expected to bring back twice what it costs."""
    return steps * seconds_a_step * _SHARE >= _WANTED * (_SECONDS + _SECONDS_A_MODULE * modules)


def _pays(model: nn.Module, trial: Trial, steps: int) -> bool:
    if trial.device.type != "cuda":
        return False
    computing = sum(1 for module in model.modules() if not list(module.children()))
    try:
        return expected_to_pay(steps, trial.seconds(model), computing)
    except Failure:
        # What does not fit into memory is the first batch's to tell.
        return False


def _size_of(inputs: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Samples in a batch: the length of the first tensor among the inputs; 0 without one."""
    found = (item for item in (*inputs, *named.values()) if isinstance(item, Tensor) and item.ndim)
    return next((len(item) for item in found), 0)


def _failed(failure: Failure) -> Alert:
    text = failure.error.untrusted or failure.error.message
    return Alert(
        code="compile_failed",
        level="warning",
        message="The model could not be compiled; it is trained as it is.",
        evidence={"untrusted": text[-1024:]},
        remedy='Set trainingConfig.compile to "off", or mend what the compiler names.',
    )
