"""R², explained variance and errors of regression."""

import math
from typing import Any

import torch
from torch import Tensor

from schemas.metrics import MetricName, metric_named
from trainer_core.epochs.chosen_metrics import said
from trainer_core.loop.alignment import align_values, one_tensor
from trainer_core.loop.metrics.figures import Figures, Split, check_width, widen
from trainer_core.loop.ranks import Ranks

USUAL: tuple[MetricName, ...] = ("r2", "mean_absolute_error", "root_mean_squared_error")


class ValueFigures(Figures):
    """R², mean absolute error and root of the mean squared error; of validation those of ``metrics``.

    Kept per output are n, the mean of y, Σ(y - mean)², Σ(y - ŷ)² and Σ|y - ŷ|, (5, D), and for the explained variance n,
    mean and spread of y - ŷ, (3, D). Means and spreads are merged
    as by Chan, Golub and LeVeque 1979, so that values far from 0 lose no digits (Σy² - (Σy)²/n would).
    R² and explained variance are means over the outputs that vary, errors are over all values; targets of three dimensions
    or more count as one output.
    """

    def __init__(self, device: torch.device, metrics: tuple[MetricName, ...] = USUAL) -> None:
        super().__init__(device)
        self._metrics = metrics
        self._explains = "explained_variance" in metrics
        self._sums = self._zeros(5, 0)
        self._errors = self._zeros(3, 0)

    def _add(self, output: Any, targets: Any) -> None:
        values, wanted = align_values(one_tensor(output, "outputs").detach(), one_tensor(targets, "targets"))
        wanted, values = (_columns(tensor).to(self._dtype) for tensor in (wanted, values))
        if wanted.shape[0] == 0:
            return
        check_width(self._sums, wanted.shape[1])
        if self._sums.shape[1] == 0:
            self._sums = self._zeros(5, wanted.shape[1])
            self._errors = self._zeros(3, wanted.shape[1])
        error = wanted - values
        _, _, _, squares, sizes = self._sums.unbind()
        squares += error.square().sum(dim=0)
        sizes += error.abs().sum(dim=0)
        _join(self._sums, wanted)
        if self._explains:
            _join(self._errors, error)

    def merge(self, ranks: Ranks) -> None:
        """Sum over the ranks: first the numbers and means, then the spreads about the common mean."""
        super().merge(ranks)
        sums = widen(self._sums, ranks)
        rest = sums[3:].clone()
        ranks.sum([rest])
        self._sums = torch.cat((_merge(sums[:3], ranks), rest))
        self._errors = _merge(widen(self._errors, ranks), ranks) if self._explains else self._errors

    def compute(self, prefix: Split) -> dict[str, float]:
        """Loss, and what could be computed of ``metrics``; of training those that are usual."""
        figures = super().compute(prefix)
        number, _, spread, squares, sizes = self._sums.cpu().double()
        total = float(number.sum())
        if self.misfit or not total:
            return figures
        squared = float(squares.sum()) / total
        found: dict[MetricName, float] = {
            "r2": _share(squares, spread),
            "explained_variance": _share(self._errors[2].cpu().double(), spread) if self._explains else math.nan,
            "mean_absolute_error": float(sizes.sum()) / total,
            "mean_squared_error": squared,
            "root_mean_squared_error": math.sqrt(squared) if squared >= 0 else math.nan,
        }
        wanted = {name: found[name] for name in (self._metrics if prefix == "val" else USUAL)}
        measured = {name: value for name, value in wanted.items() if math.isfinite(value)}
        if prefix == "val":
            missing = [name for name in wanted if name not in measured]
            still = not bool((spread > 0).any())
            cause = "the held-out targets do not vary" if still else "an output is not finite"
            self.omitted = f"{said(missing)}: {cause}" if missing else ""
        return figures | {f"{prefix}{metric_named(name).figure}": value for name, value in measured.items()}

    def state(self) -> dict[str, Tensor]:
        """All sums."""
        return super().state() | {name: sums.to("cpu", copy=True) for name, sums in self._by_name().items()}

    def _by_name(self) -> dict[str, Tensor]:
        return {"sums": self._sums} | ({"errors": self._errors} if self._explains else {})

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state``."""
        super().restore(state)
        self._sums = self._take(state, "sums", 5, 0)
        self._errors = self._take(state, "errors", 3, 0)


def _columns(tensor: Tensor) -> Tensor:
    """(N, D) for targets of two dimensions, else (all, 1)."""
    return tensor if tensor.ndim == 2 else tensor.reshape(-1, 1)


def _join(moments: Tensor, values: Tensor) -> None:
    """Take ``values`` (N, D) into number, mean and spread, the first three rows of ``moments``, in place."""
    number, mean, spread = moments[:3].unbind()
    more = values.shape[0]
    variance, theirs = torch.var_mean(values, dim=0, correction=0)
    step = theirs - mean
    share = more / (number + more)
    spread += variance * more + step.square() * number * share
    mean += step * share
    number += more


def _merge(moments: Tensor, ranks: Ranks) -> Tensor:
    """The moments (3, D) of all ranks."""
    number, mean, spread = moments
    first = torch.stack((number, number * mean))
    ranks.sum([first])
    common = first[1] / first[0].clamp(min=1)
    second = spread + number * (mean - common) ** 2
    ranks.sum([second])
    return torch.stack((first[0], common, second))


def _share(unexplained: Tensor, spread: Tensor) -> float:
    """1 - unexplained / spread, the mean over the outputs (D,) that vary; NaN where none does."""
    return float((1 - unexplained / spread)[spread > 0].mean())
