"""R² and errors of regression."""

import math
from typing import Any

import torch
from torch import Tensor

from trainer_core.loop.alignment import align_values, one_tensor
from trainer_core.loop.metrics.figures import Figures, Split, check_width, finite, widen
from trainer_core.loop.ranks import Ranks


class ValueFigures(Figures):
    """R², mean absolute error and root of the mean squared error.

    Kept per output are n, the mean of y, Σ(y - mean)², Σ(y - ŷ)² and Σ|y - ŷ|, (5, D). Mean and spread are merged
    as by Chan, Golub and LeVeque 1979, so that values far from 0 lose no digits (Σy² - (Σy)²/n would).
    R² is the mean over the outputs that vary, errors are over all values; targets of three dimensions or more count
    as one output.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._sums = self._zeros(5, 0)

    def _add(self, output: Any, targets: Any) -> None:
        values, wanted = align_values(one_tensor(output, "outputs").detach(), one_tensor(targets, "targets"))
        wanted, values = (_columns(tensor).to(self._dtype) for tensor in (wanted, values))
        if wanted.shape[0] == 0:
            return
        check_width(self._sums, wanted.shape[1])
        if self._sums.shape[1] == 0:
            self._sums = self._zeros(5, wanted.shape[1])
        mean = wanted.mean(dim=0)
        error = wanted - values
        number = torch.full_like(mean, wanted.shape[0])
        spread = ((wanted - mean) ** 2).sum(dim=0)
        batch = torch.stack((number, mean, spread, (error**2).sum(dim=0), error.abs().sum(dim=0)))
        self._sums = _join(self._sums, batch)

    def merge(self, ranks: Ranks) -> None:
        """Sum over the ranks: first the numbers and means, then the spreads about the common mean."""
        super().merge(ranks)
        number, mean, spread, squares, sizes = widen(self._sums, ranks)
        first = torch.stack((number, number * mean))
        ranks.sum([first])
        common = first[1] / first[0].clamp(min=1)
        second = torch.stack((spread + number * (mean - common) ** 2, squares, sizes))
        ranks.sum([second])
        self._sums = torch.cat((first[:1], common[None], second))

    def compute(self, prefix: Split) -> dict[str, float]:
        """Loss, R², mean absolute error, root mean squared error."""
        number, _, spread, squares, sizes = self._sums.cpu()
        total = float(number.sum())
        if self.omitted or not total:
            return super().compute(prefix)
        figures = {
            f"{prefix}R2": float((1 - squares / spread)[spread > 0].mean()),
            f"{prefix}Mae": float(sizes.sum()) / total,
            f"{prefix}Rmse": math.sqrt(float(squares.sum()) / total),
        }
        return super().compute(prefix) | finite(figures)

    def state(self) -> dict[str, Tensor]:
        """All sums."""
        return super().state() | {"sums": self._sums.to("cpu", copy=True)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state``."""
        super().restore(state)
        self._sums = self._take(state, "sums", 5, 0)


def _columns(tensor: Tensor) -> Tensor:
    """(N, D) for targets of two dimensions, else (all, 1)."""
    return tensor if tensor.ndim == 2 else tensor.reshape(-1, 1)


def _join(one: Tensor, other: Tensor) -> Tensor:
    """The sums (5, D) of two sets of samples as those of both together."""
    number = one[0] + other[0]
    step = other[1] - one[1]
    joined = one + other
    joined[1] = one[1] + step * other[0] / number
    joined[2] += step**2 * one[0] * other[0] / number
    return joined
