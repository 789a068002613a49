"""Loss and gradient norm of every step, kept on the device until it is time to read them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer_core.loop.ranks import Totals
from trainer_core.monitors.monitor import Readings

# Steps whose figures become one tensor: scalars kept one by one would each hold a block of the device's memory.
_TOGETHER = 256


@dataclass(frozen=True)
class Steps:
    """Figures of some steps, read from the device, each of shape (steps,): step numbers, sums of losses, numbers of targets,
    gradient norms."""

    numbers: NDArray[np.int64]
    loss_sums: NDArray[np.float64]
    counts: NDArray[np.float64]
    norms: NDArray[np.float64]

    def readings(self) -> Readings:
        """What monitors look at; NaN where there is no finite figure."""
        with np.errstate(divide="ignore", invalid="ignore"):
            losses = self.loss_sums / self.counts
        return Readings(self.numbers, _finite(losses), _finite(self.norms), self.counts)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, np.nan)


class Trace:
    """What steps leave behind. Adding waits for nothing; reading waits for the device, once for all steps."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self._packed: list[Tensor] = []

    def add(self, step: int, totals: Totals, norm: Tensor) -> None:
        """Note a step by its number and its scalars on the device."""
        self._numbers.append(step)
        self._kept.append((totals.loss_sum, totals.count, norm))
        if len(self._kept) == _TOGETHER:
            self._pack()

    def read(self) -> Steps:
        """The steps since the last reading."""
        self._pack()
        table = torch.cat(self._packed, dim=1).cpu().numpy() if self._packed else np.empty((3, 0))
        steps = Steps(np.array(self._numbers, dtype=np.int64), *table)
        self.clear()
        return steps

    def clear(self) -> None:
        """Forget what was not read."""
        self._numbers, self._kept, self._packed = [], [], []

    def _pack(self) -> None:
        if self._kept:
            self._packed.append(torch.stack([torch.stack(column).double() for column in zip(*self._kept, strict=True)]))
            self._kept = []
