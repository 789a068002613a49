"""Loss and gradient norm of every step, kept on the device until it is time to read them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer_core.loop.ranks import Totals
from trainer_core.monitors.monitor import Reading

# Steps whose figures become one tensor: scalars kept one by one would each hold a block of the device's memory.
_TOGETHER = 256


@dataclass(frozen=True)
class Steps:
    """Figures of some steps as (steps,) tensors of float64 on this host: sum of losses, number of targets, gradient norm."""

    numbers: list[int]
    loss_sums: Tensor
    counts: Tensor
    norms: Tensor

    def readings(self) -> list[Reading]:
        """Each step's mean loss and norm."""
        losses = (self.loss_sums / self.counts).tolist()
        return [
            Reading(step, loss if math.isfinite(loss) else None, norm if math.isfinite(norm) else None, count)
            for step, loss, norm, count in zip(
                self.numbers, losses, self.norms.tolist(), self.counts.tolist(), strict=True
            )
        ]


class Trace:
    """What steps leave behind. Adding waits for nothing; reading waits for the device, once for all steps."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._columns: tuple[list[Tensor], ...] = ([], [], [])
        self._packed: list[Tensor] = []

    def add(self, step: int, totals: Totals, norm: Tensor) -> None:
        """Note a step by its number and its scalars on the device."""
        self._numbers.append(step)
        for column, scalar in zip(self._columns, (totals.loss_sum, totals.count, norm), strict=True):
            column.append(scalar)
        if len(self._columns[0]) == _TOGETHER:
            self._pack()

    def read(self) -> Steps:
        """The steps since the last reading."""
        self._pack()
        table = torch.cat(self._packed, dim=1).cpu() if self._packed else torch.empty(3, 0, dtype=torch.float64)
        steps = Steps(self._numbers, *table)
        self.clear()
        return steps

    def clear(self) -> None:
        """Forget what was not read."""
        self._numbers, self._packed = [], []
        self._columns = ([], [], [])

    def _pack(self) -> None:
        if self._numbers and self._columns[0]:
            self._packed.append(torch.stack([torch.stack(column).double() for column in self._columns]))
            self._columns = ([], [], [])
