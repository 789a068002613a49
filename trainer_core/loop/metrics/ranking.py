"""Areas under the curves of a ranking: how well scores put the targets of a class before the others."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ranking:
    """Targets found (``hits``) and taken by mistake (``misses``) at every threshold, from the highest score down, (T,)
    whole numbers on the CPU. The last of each is how many there are. Only what is ``defined`` has areas."""

    hits: Tensor
    misses: Tensor

    @staticmethod
    def of(scores: Tensor, positive: Tensor) -> "Ranking":
        """The ranking by ``scores`` (N,) of samples of which some are ``positive`` (N,); equal scores share a threshold."""
        scores, order = scores.sort(descending=True)
        found = positive[order].long().cumsum(0)
        is_last = torch.ones_like(positive, dtype=torch.bool)
        is_last[:-1] = scores[1:] != scores[:-1]
        ends = is_last.nonzero()[:, 0]
        hits = found[ends]
        return Ranking(hits.cpu(), (ends + 1 - hits).cpu())

    @property
    def defined(self) -> bool:
        """Whether there is something to find and something to be told from it."""
        return len(self.hits) > 0 and bool(self.hits[-1] > 0) and bool(self.misses[-1] > 0)

    def roc_auc(self) -> float:
        """The area under the receiver operating characteristic, by trapezes: ties count half. Whole numbers until the last
        division, so it does not depend on the order of the samples."""
        before = torch.cat((self.hits.new_zeros(1), self.hits[:-1]))
        twice = (_steps(self.misses) * (self.hits + before)).sum()
        return float(twice) / 2 / (float(self.hits[-1]) * float(self.misses[-1]))

    def average_precision(self) -> float:
        """The sum of precision times gain in recall over the thresholds (``sklearn.metrics.average_precision_score``)."""
        taken = (self.hits + self.misses).double().clamp(min=1)
        return float((self.hits.double() / taken * _steps(self.hits)).sum() / self.hits[-1])


def _steps(numbers: Tensor) -> Tensor:
    return numbers.diff(prepend=numbers.new_zeros(1))
