"""What all figures of an epoch have in common: sums on the device, the loss first."""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from trainer_core.failure import Failure
from trainer_core.loop.ranks import Ranks

Split = Literal["train", "val"]


class Figures:
    """The loss alone; the base of the others.

    ``misfit`` says why the outputs fit none but the loss; ``omitted`` why any figure is left out that one could expect. Both
    are empty while there is no reason.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._loss = self._zeros(2)
        self.misfit = ""
        self.omitted = ""

    def update(self, output: Any, targets: Any, loss_sum: Tensor, count: Tensor) -> None:
        """Add one batch, without a sync. Where the outputs of a batch do not fit the task (only the model file's own loss
        gets on with them), all figures but the loss are left out."""
        self._loss += torch.stack((loss_sum.detach(), count.detach())).to(self._loss)
        try:
            self._add(output, targets)
        except Failure as failure:
            self.misfit = self.omitted = str(failure)

    def _add(self, output: Any, targets: Any) -> None:
        """Add one batch to the further figures, of which there are none here."""

    def merge(self, ranks: Ranks) -> None:
        """Make these the figures of all ranks, on all ranks; they equal those of one process that saw everything."""
        ranks.sum([self._loss])
        # What one rank leaves out all leave out: they must judge an epoch alike.
        self.misfit = self.omitted = next((reason for reason in ranks.gather(self.misfit) if reason), "")

    def compute(self, prefix: Split) -> dict[str, float]:
        """The figures by name (``trainLoss`` ...); what is not finite or not defined is left out. The only sync."""
        total, count = self._loss.tolist()
        return finite({f"{prefix}Loss": total / count if count else math.nan})

    def reset(self) -> None:
        """Begin afresh."""
        self.restore({})
        self.misfit = self.omitted = ""

    def state(self) -> dict[str, Tensor]:
        """The sums so far, copied to the CPU."""
        return {"loss": self._loss.to("cpu", copy=True)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state``; from nothing where it is empty."""
        self._loss = self._take(state, "loss", 2)

    def _take(self, state: dict[str, Tensor], name: str, *shape: int) -> Tensor:
        return state[name].to(self._device, self._dtype, copy=True) if name in state else self._zeros(*shape)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self._dtype, device=self._device)


def finite(figures: dict[str, float]) -> dict[str, float]:
    """``figures`` without what is NaN or infinite."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def check_width(sums: Tensor, width: int) -> None:
    """Raise Failure ``model_invalid`` when ``sums`` (k, width) are of batches of another width."""
    if sums.shape[1] not in (0, width):
        message = f"Outputs are {width} wide here and {sums.shape[1]} in another batch."
        raise Failure("model_invalid", message, next_move="Pad all batches alike.")


def widen(sums: Tensor, ranks: Ranks) -> Tensor:
    """``sums`` (k, width), or zeros of the other ranks' width on a rank that has seen no batch and has none. Without columns
    where the ranks do not agree."""
    width = sums.shape[1]
    widths = {other for other in ranks.gather(width) if other}
    if len(widths) > 1:
        return sums.new_zeros(sums.shape[0], 0)
    return sums if width or not widths else sums.new_zeros(sums.shape[0], widths.pop())
