"""The scores of all samples of an evaluation, which a ranking needs: exact, or, where they are too many, in bins."""

from typing import Literal

import torch
from torch import Tensor

from trainer_core.loop.metrics.ranking import Ranking
from trainer_core.loop.ranks import Ranks

# Over all ranks; 256 MiB of float32.
MOST_SCORES = 2**26
BINS = 4096
# They cover log-odds from -16 to 16; what lies beyond is in the outermost.
_BINS_TO_ONE = BINS // 32

UNCOUNTED = -2

Form = Literal["exact", "binned", "dropped"]


class ScoreStore:
    """Scores (N, C) of all samples and the column (N,) that each belongs to: -1 for none of them, ``UNCOUNTED`` for one that
    does not count.

    ``form`` is ``exact`` up to ``most_scores`` numbers on all ranks together. Beyond, ``binned``: only how many fall into
    each of ``BINS`` bins is kept, and of an area the share of pairs that fall into one bin is known by half. ``dropped``
    where the bins of all columns would be more than ``most_scores`` numbers themselves.
    """

    def __init__(self, device: torch.device, most_scores: int = MOST_SCORES) -> None:
        self._device = device
        self._most = most_scores
        self.reset()

    def reset(self) -> None:
        """Begin afresh."""
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._held = 0
        self._columns = 0
        self._bins = torch.zeros(0, dtype=torch.int64, device=self._device)
        self._broken = torch.zeros((), dtype=torch.int64, device=self._device)
        self.form: Form = "exact"

    def add(self, scores: Tensor, columns: Tensor) -> None:
        """Add a batch, without a sync."""
        self._columns = scores.shape[1]
        self._broken += scores.isnan().any()
        self._parts.append((scores.to(torch.float32, copy=True), columns.to(torch.int32, copy=True)))
        self._held += scores.numel()
        if self.form != "exact" or self._held > self._most:
            self._put_into_bins()

    def _put_into_bins(self) -> None:
        """Give up exactness for memory."""
        self.form = "binned" if 2 * self._columns * BINS <= self._most else "dropped"
        if self.form == "binned" and not len(self._bins):
            self._bins = torch.zeros(2 * self._columns * BINS, dtype=torch.int64, device=self._device)
        for scores, columns in self._parts if self.form == "binned" else ():
            number = torch.arange(self._columns, device=self._device)
            level = (scores.nan_to_num() * _BINS_TO_ONE + BINS // 2).clamp(0, BINS - 1).long()
            wanted = (columns[:, None] == number).long()
            counted = (columns != UNCOUNTED)[:, None].expand_as(wanted)
            place = (wanted * self._columns + number) * BINS + level
            self._bins.index_add_(0, place.flatten(), counted.flatten().long())
        self._parts = []

    def merge(self, ranks: Ranks) -> None:
        """Make these the scores of all ranks, on all ranks."""
        held, columns, forms = zip(*ranks.gather((self._held, self._columns, self.form)), strict=True)
        self._held, self._columns = sum(held), max(columns)
        ranks.sum([self._broken])
        if len({other for other in columns if other}) > 1:
            self._parts, self.form = [], "dropped"
        elif set(forms) != {"exact"} or self._held > self._most:
            self._put_into_bins()
            ranks.sum([self._bins] if self.form == "binned" else [])
        elif ranks.world > 1:
            here = [tuple(tensor.cpu() for tensor in self._whole())]
            self._parts = [(scores, columns) for part in ranks.gather(here) for scores, columns in part]

    def _whole(self) -> tuple[Tensor, Tensor]:
        scores = [part[0] for part in self._parts] or [torch.zeros(0, self._columns, device=self._device)]
        columns = [part[1] for part in self._parts] or [torch.zeros(0, dtype=torch.int32, device=self._device)]
        return torch.cat(scores), torch.cat(columns)

    def rankings(self) -> list[Ranking]:
        """The ranking by each column; none where a score is NaN, or all were dropped. Waits for the device."""
        if self._broken.item() or self.form == "dropped":
            return []
        if self.form == "binned":
            hits, misses = self._bins.cpu().reshape(-1, self._columns, BINS).flip(2).roll(1, 0).cumsum(2)
            return [Ranking(hits[number], misses[number]) for number in range(self._columns)]
        scores, columns = self._whole()
        counted = columns != UNCOUNTED
        scores, columns = scores[counted], columns[counted]
        return [Ranking.of(scores[:, number], columns == number) for number in range(self._columns)]
