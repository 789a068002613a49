"""The gate before the optimizer: no step whose loss or gradient is not finite changes a weight."""

import math

import torch
from torch import Tensor

from trainer_core.loop.precision import Precision


class HostGate:
    """Reads one truth value per step. On a CPU that costs nothing; on a GPU it waits for the step's kernels, and is the
    way for optimizers that cannot be told on the device to leave a step out.

    With a gradient scaler an infinite gradient now and then is expected and answered by the scaler, so only the loss is
    judged, until ``PATIENCE`` steps in a row were skipped: by then the scale has fallen by 2^-50, and it is not to blame.
    """

    PATIENCE = 50

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self._skipped = 0

    def admits(self, loss: Tensor, norm: Tensor, batch: int) -> bool:
        """Whether the step may be taken: ``loss`` and gradient ``norm`` of the epoch's batch number ``batch`` are finite."""
        if not self._precision.scaled:
            return math.isfinite((loss + norm).item())
        self._skipped = self._skipped + 1 if self._precision.skipped() else 0
        return math.isfinite(loss.item()) and self._skipped < self.PATIENCE

    def refused(self) -> int | None:
        """The batch of the epoch in progress whose step was left out, if the device knows one; may wait for it."""
        return None

    def clear(self) -> None:
        """Judge afresh."""
        self._skipped = 0


class DeviceGate:
    """Decides on the device, without the host: fused optimizers read ``found_inf`` and leave the step out.

    Refusal is sticky: after the first refused step no other changes a weight, so whenever the host looks (at a report, a
    checkpoint, the end of an epoch) the weights are those before the step that it asks about.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self._refusal = torch.zeros((), device=device)
        self._batch = torch.full((), -1, dtype=torch.int64, device=device)
        optimizer.found_inf = self._refusal  # type: ignore[attr-defined]

    def admits(self, loss: Tensor, norm: Tensor, batch: int) -> bool:
        """True; whether the step changes a weight is decided when the device comes to it."""
        bad = torch.isfinite(loss + norm).logical_not()
        self._batch.copy_(torch.where(bad & (self._batch < 0), batch, self._batch))
        self._refusal.copy_(self._batch >= 0)
        return True

    def refused(self) -> int | None:
        """The first refused batch of the epoch in progress, or None; waits for the device."""
        batch = int(self._batch.item())
        return None if batch < 0 else batch

    def clear(self) -> None:
        """Judge afresh: a batch that was refused is dealt with."""
        self._batch.fill_(-1)
        self._refusal.zero_()


Gate = HostGate | DeviceGate


def build_gate(optimizer: torch.optim.Optimizer, precision: Precision, device: torch.device) -> Gate:
    """The gate that fits: on the device where device and optimizer can, else on the host."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return (
        DeviceGate(optimizer, device)
        if device.type == "cuda" and fused and not precision.scaled
        else HostGate(precision)
    )
