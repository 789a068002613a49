"""Figures that look at how sure a model was: top-k accuracy, log loss, and the areas under two curves."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from schemas.metrics import MetricName, metric_named
from trainer_core.epochs.chosen_metrics import explain, said
from trainer_core.loop.alignment import one_tensor
from trainer_core.loop.metrics.class_figures import ClassFigures
from trainer_core.loop.metrics.figures import Figures, Split, finite
from trainer_core.loop.metrics.score_store import BINS, MOST_SCORES, UNCOUNTED, ScoreStore
from trainer_core.loop.ranks import Ranks

_TOP: dict[MetricName, int] = {"top_2_accuracy": 2, "top_3_accuracy": 3, "top_5_accuracy": 5, "top_10_accuracy": 10}


class ScoreFigures(Figures):
    """The figures of ``inner``, and those of ``metrics`` that need scores. For validation only.

    Top-k accuracy and log loss are sums. The areas need all scores: 4 bytes for each sample and class, kept where they were
    computed until the end of the evaluation, at most ``most_scores`` of them (see ``ScoreStore``). Of several classes an area is
    the mean over those that occur, each against the rest by its probability; of two with one output it is the positive's.
    """

    def __init__(
        self,
        inner: ClassFigures,
        device: torch.device,
        metrics: tuple[MetricName, ...],
        most_scores: int = MOST_SCORES,
    ) -> None:
        super().__init__(device)
        self._inner = inner
        self._metrics = metrics
        self._most = most_scores
        self._tops = [name for name in metrics if name in _TOP]
        self._areas = [name for name in metrics if metric_named(name).needs_scores]
        self._places = torch.tensor([_TOP[name] for name in self._tops], dtype=torch.int64, device=device)
        self._store = ScoreStore(device, most_scores)
        self._classes = 0
        self._sums = self._zeros(len(self._tops) + 2)

    def update(self, output: Any, targets: Any, loss_sum: Tensor, count: Tensor) -> None:
        """Add one batch, without a sync."""
        self._inner.update(output, targets, loss_sum, count)
        self.omitted = self._inner.omitted
        if not self.omitted:
            self._observe(one_tensor(output, "outputs").detach(), one_tensor(targets, "targets"))

    def _observe(self, output: Tensor, targets: Tensor) -> None:
        logits, wanted, counted = self._inner.read(output, targets)
        self._classes = logits.shape[1] if logits.ndim == 2 else 2
        weight = counted.to(self._dtype)
        sums = [weight.sum()]
        sums += [(self._losses(logits, wanted) * weight).sum() if "log_loss" in self._metrics else weight.new_zeros(())]
        self._sums[:2] += torch.stack(sums)
        if self._tops:
            self._sums[2:] += ((_place(logits, wanted)[:, None] < self._places) * weight[:, None]).sum(dim=0)
        if self._areas:
            column = wanted if logits.ndim == 2 else wanted - 1
            self._store.add(self._log_odds(logits), torch.where(counted, column, UNCOUNTED))

    def _losses(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """-log p of each target."""
        if logits.ndim == 1:
            return functional.softplus(torch.where(wanted > 0, -logits, logits)).to(self._dtype)
        return functional.cross_entropy(logits, wanted, reduction="none").to(self._dtype)

    def _log_odds(self, logits: Tensor) -> Tensor:
        """(M, C): log p / (1 - p), which orders as probabilities do, and does not end at 1 as they do in float32."""
        if logits.ndim == 1:
            return logits[:, None]
        log_p = logits.to(self._dtype).log_softmax(dim=1)
        return log_p - torch.log(-torch.expm1(log_p))

    def merge(self, ranks: Ranks) -> None:
        """Sum over the ranks, and bring their scores together."""
        self._inner.merge(ranks)
        self.omitted = self._inner.omitted
        self._classes = max(ranks.gather(self._classes))
        ranks.sum([self._sums])
        if self._areas:
            self._store.merge(ranks)

    def compute(self, prefix: Split) -> dict[str, float]:
        """The inner figures, and those that could be computed; ``omitted`` says of the others why."""
        figures = self._inner.compute(prefix)
        reasons = [self._inner.omitted]
        number, losses, *tops = self._sums.tolist()
        if number and not self._inner.misfit:
            found: dict[MetricName, float] = {"log_loss": losses / number} if "log_loss" in self._metrics else {}
            for name, hits in zip(self._tops, tops, strict=True):
                found |= {name: hits / number} if _TOP[name] < self._classes else {}
            reasons += self._too_few_classes()
            found |= self._measure_areas(reasons)
            figures |= finite({metric_named(name).row_name: value for name, value in found.items()})
        self.omitted = "; ".join(reason for reason in reasons if reason)
        return figures

    def _too_few_classes(self) -> list[str]:
        empty = [name for name in self._tops if _TOP[name] >= self._classes]
        return [f"{said(empty)}: of {self._classes} classes that many guesses are always right"] if empty else []

    def _measure_areas(self, reasons: list[str]) -> dict[MetricName, float]:
        """The areas that are defined; why the others are not, or not exact, goes to ``reasons``."""
        if not self._areas:
            return {}
        rankings = [ranking for ranking in self._store.rankings() if ranking.defined]
        if self._store.form != "exact":
            kept = "a mean from" if self._store.form == "binned" else "not even from"
            reasons.append(f"{said(self._areas)}: {kept} {BINS:,} bins, for there are more than {self._most:,} scores")
        elif not rankings:
            reasons.append(explain(self._areas, self._inner.tally().one_class))
        if not rankings:
            return {}
        areas: dict[MetricName, list[float]]
        areas = {"roc_auc": [one.roc_auc() for one in rankings]} if "roc_auc" in self._areas else {}
        if "average_precision" in self._areas:
            areas["average_precision"] = [one.average_precision() for one in rankings]
        return {name: math.fsum(values) / len(values) for name, values in areas.items()}

    def state(self) -> dict[str, Tensor]:
        """The sums; scores are not kept in it."""
        return self._inner.state() | {"scoreSums": self._sums.to("cpu", copy=True)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state``."""
        self._inner.restore(state)
        self._sums = self._take(state, "scoreSums", len(self._tops) + 2)
        self._store.reset()

    def reset(self) -> None:
        """Begin afresh."""
        self._inner.reset()
        super().reset()


def _place(logits: Tensor, wanted: Tensor) -> Tensor:
    """How many classes stand before the target's, (M,); of equal scores the higher class number stands first, as in
    ``sklearn.metrics.top_k_accuracy_score``. Behind all where the score is NaN."""
    score = logits.gather(1, wanted[:, None])
    later = torch.arange(logits.shape[1], device=logits.device) > wanted[:, None]
    return (~(logits <= score) | ((logits == score) & later)).sum(dim=1)
