"""The number format of forward and backward pass: fp32, bf16, or fp16 with a gradient scaler."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Variable
from torch.autograd.graph import _engine_run_backward

from schemas.training import TrainingConfig

Name = Literal["fp32", "bf16", "fp16"]

_ENGINE = Variable._execution_engine
_AS_IT_IS = nullcontext()


class Precision:
    """float32 throughout. The null form.

    ``reason`` says why this format; ``scaled`` whether losses are scaled, so that an infinite gradient now and
    then is expected and answered by a skipped step, not by an alarm.
    """

    name: Name = "fp32"
    scaled = False

    def __init__(self, reason: str) -> None:
        self.reason = reason
        # The gradient that a backward pass begins with, by what it is made of.
        self._seed: tuple[Any, Tensor] = None, torch.empty(())

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of forward pass and loss."""
        return _AS_IT_IS

    def backward(self, loss: Tensor, scale: float = 1.0) -> None:
        """Add the gradients of ``scale`` times the scalar ``loss`` (scaled further, in fp16)."""
        kind = scale, loss.dtype, loss.device
        if kind != self._seed[0]:
            self._seed = kind, torch.full_like(loss, scale, requires_grad=False)
        # As torch.autograd.backward does, but without its look at the seed, which takes longer than a small layer. On a CPU
        # the pass runs in this thread, and the engine needs not be told the context for another.
        run = _ENGINE.run_backward if loss.device.type == "cpu" else _engine_run_backward
        run((loss,), (self._seed[1],), False, False, (), allow_unreachable=True, accumulate_grad=True)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring gradients to their true size; once per optimizer step, before they are clipped."""

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Step ``optimizer``; in fp16 only when every gradient is finite."""
        optimizer.step()

    def leave_out(self) -> None:
        """Take no step, though gradients were unscaled for one."""

    def skipped(self) -> bool:
        """Whether the latest ``step`` left the weights as they were. Never looks at the device."""
        return False

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""


@contextmanager
def _host_autocast(dtype: torch.dtype) -> Iterator[None]:
    """Autocast on a CPU, with the plain form of torch's own attention: its fast one, of evaluation with padded sequences, asks
    whether a GPU's autocast is on, and fails on weights and activations of two types."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.autocast("cpu", dtype=dtype):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class BrainFloat(Precision):
    """bfloat16 autocast: float32's range, so no scaler."""

    name: Name = "bf16"
    dtype = torch.bfloat16

    def __init__(self, reason: str, device: torch.device) -> None:
        super().__init__(reason)
        self._device_type = device.type

    def autocast(self) -> AbstractContextManager[Any]:
        """Autocast to this format."""
        if self._device_type == "cpu":
            return _host_autocast(self.dtype)
        return torch.autocast(self._device_type, dtype=self.dtype)


class ScaledHalf(BrainFloat):
    """float16 autocast with dynamic loss scaling (Micikevicius et al. 2018).

    A step with an infinite or NaN gradient is left out and the scale halved. Whether that happened is read once
    per step: one sync, which ``GradScaler.step`` pays as well for every optimizer without a fused form.
    """

    name: Name = "fp16"
    scaled = True
    dtype = torch.float16

    def __init__(self, reason: str, device: torch.device) -> None:
        super().__init__(reason, device)
        self._scaler = torch.amp.GradScaler(device.type)
        self._scale = float(self._scaler.get_scale())
        self._skipped = False

    def backward(self, loss: Tensor, scale: float = 1.0) -> None:
        """Add the gradients of ``scale`` times the scaled loss."""
        super().backward(self._scaler.scale(loss), scale)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the scale."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Step when all gradients are finite; then adapt the scale."""
        self._scaler.step(optimizer)
        self._scaler.update()
        scale = float(self._scaler.get_scale())
        self._skipped = scale < self._scale
        self._scale = scale

    def leave_out(self) -> None:
        """Adapt the scale: a scaler unscales once for each update."""
        self._scaler.update()
        self._scale = float(self._scaler.get_scale())

    def skipped(self) -> bool:
        """Whether the latest step was left out."""
        return self._skipped

    def state(self) -> dict[str, Any]:
        """Scale and growth counter."""
        return dict(self._scaler.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with the scale of ``state``; one of another precision (empty) starts afresh."""
        if state:
            self._scaler.load_state_dict(state)
            self._scale = float(self._scaler.get_scale())


def build_precision(training: TrainingConfig, device: torch.device) -> Precision:
    """Precision as the request says; ``auto`` (also ``mixedPrecision: true``) takes what ``device`` gains from."""
    wanted = training.precision or ("auto" if training.mixed_precision else "fp32")
    if wanted == "auto":
        name, reason = _choose(device)
    else:
        name = wanted
        reason = "asked for" if training.precision else "mixedPrecision is off"
    if name == "bf16":
        return BrainFloat(reason, device)
    return ScaledHalf(reason, device) if name == "fp16" else Precision(reason)


def _choose(device: torch.device) -> tuple[Name, str]:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes bf16 natively"
        return "fp16", "the GPU has no native bf16, but fp16"
    if device.type == "cpu":
        unit = next((name for name in ("amx_bf16", "avx512_bf16") if torch.cpu.get_capabilities().get(name)), None)
        if unit:
            return "bf16", f"the CPU has {unit}"
        return "fp32", "the CPU has neither amx_bf16 nor avx512_bf16: lower precision would be slower"
    return "fp32", f"nothing is known of lower precision on {device.type}"
