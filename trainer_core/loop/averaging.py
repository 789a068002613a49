"""Weights averaged over a run: they are what is evaluated, kept as the checkpoint's model, and handed over."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from schemas.averaging import WeightAveraging
from trainer_core.failure import Failure

# Gives a model's batch normalisation the statistics that go with its weights.
Settle = Callable[[nn.Module], None]


class Averaging:
    """The weights that are trained are evaluated. The null form."""

    name = ""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def follow(self, stepped: bool) -> None:
        """The optimizer has taken a step, or (not ``stepped``) left it out. Never looks at the device."""

    def end_epoch(self, epoch: int, cut_short: bool) -> None:
        """The epoch with index ``epoch`` is trained, or was ``cut_short``, and is going to be evaluated."""

    def take_back_cut(self) -> None:
        """What is left of an epoch that was cut short will be trained: the average is what it was before it."""

    def take_up(self, ended: int | None) -> str:
        """A resumed run trains on, with the weights of the end of the epoch with index ``ended``, or (None) of mid-epoch. What is
        averaged is that of a run which had this length from the start, as far as it can be; a sentence on what is not, else
        nothing."""
        return ""

    def models(self) -> list[nn.Module]:
        """All there are: they may be prepared alike for several ranks, until the first step is taken."""
        return [self._model]

    def evaluated(self) -> nn.Module:
        """The model whose weights are the run's result so far, with the buffers that go with them."""
        return self._model

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the evaluated weights: numbers, and states of the model. ``trained`` is absent where
        they are the same."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``, with the evaluated weights already in the model."""
        if "trained" in state:
            self._model.load_state_dict(state["trained"])


class Average(Averaging):
    """A copy of the model whose trainable weights are a mean of those that were seen, ``updates`` of them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._average = _copied(model)
        self._average.requires_grad_(False)
        self._pairs: tuple[list[Tensor], list[Tensor]] | None = None
        self.updates = 0

    def models(self) -> list[nn.Module]:
        return [self._model, self._average]

    @torch.no_grad()
    def take(self, share: float) -> None:
        """Move the average towards the weights as they are, by ``share`` of the way."""
        if self._pairs is None:
            self._pairs = self._pair()
        torch._foreach_lerp_(*self._pairs, share)
        self.updates += 1

    def _pair(self) -> tuple[list[Tensor], list[Tensor]]:
        """Weights that are averaged, and those that are trained: only now, for preparing may have put others in their place."""
        pairs = zip(self._average.parameters(), self._model.parameters(), strict=True)
        trained = [(kept, seen) for kept, seen in pairs if seen.requires_grad]
        return [kept for kept, _ in trained], [seen for _, seen in trained]

    @torch.no_grad()
    def take_buffers(self) -> None:
        """Buffers (running statistics) are those of the trained model, which may have come, gone or changed their shape."""
        average = dict(self._average.named_modules())
        for place, module in self._model.named_modules():
            kept = average[place]._buffers
            for name, seen in module._buffers.items():
                own = kept.get(name)
                if own is not None and seen is not None and own.shape == seen.shape:
                    own.copy_(seen)
                else:
                    kept[name] = None if seen is None else seen.detach().clone()

    def evaluated(self) -> nn.Module:
        return self._average if self.updates else self._model

    def state(self) -> dict[str, Any]:
        return {"updates": self.updates, "trained": self._model.state_dict()} if self.updates else {}

    def restore(self, state: dict[str, Any]) -> None:
        self._average.load_state_dict(self._model.state_dict())
        super().restore(state)
        self.updates = state.get("updates", 0)


class ExponentialMovingAverage(Average):
    """average ← d · average + (1 - d) · weights after each step, with d = min(decay, (1 + n) / (10 + n)) after n steps, as
    TensorFlow's ExponentialMovingAverage with ``num_updates``: the beginning is soon forgotten."""

    name = "ema"

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self._decay = decay

    def follow(self, stepped: bool) -> None:
        if stepped:
            self.take(1.0 - min(self._decay, (1 + self.updates) / (10 + self.updates)))

    def evaluated(self) -> nn.Module:
        self.take_buffers()
        return super().evaluated()


class StochasticWeightAverage(Average):
    """The mean of the weights at the end of each epoch from the one with index ``first`` on (Izmailov et al. 2018).

    The learning rate stays that of the schedule. Batch normalisation gets statistics of its own for the mean. An epoch that
    was cut short is in it with the weights of the cut, which are the run's last, for as long as no more of it is trained.
    """

    name = "swa"

    def __init__(self, model: nn.Module, first: int, settle: Settle) -> None:
        super().__init__(model)
        self._first = first
        self._settle = settle
        self._latest = -1
        self._before_cut: dict[str, Any] | None = None

    def end_epoch(self, epoch: int, cut_short: bool) -> None:
        # Once: a run that was stopped in its evaluation evaluates again.
        if epoch >= self._first and epoch > self._latest:
            self._before_cut = copy.deepcopy(self._average.state_dict()) if cut_short else None
            self._latest = epoch
            self.take(1.0 / (self.updates + 1))
            self.take_buffers()
            self._settle(self._average)

    def take_back_cut(self) -> None:
        if self._before_cut is not None:
            self._average.load_state_dict(self._before_cut)
            self._before_cut = None
            self._latest -= 1
            self.updates -= 1

    def take_up(self, ended: int | None) -> str:
        # What the mean holds: the epochs up to the latest, one after the other. One that has ended may be yet to come.
        since, at_end = self._latest - self.updates + 1, ended == self._latest
        too_early, lost = self._first - since, self._latest - self._first + (0 if at_end else 1)
        if not self.updates or too_early <= 0:
            return ""
        held = f"The checkpoint's mean of weights holds epochs {since + 1} to {self._latest + 1}; a run of this length averages"
        if too_early < lost:
            return f"{held} from epoch {self._first + 1} on. What is too early stays in it: with it {lost} epochs would be lost."
        self._average.load_state_dict(self._model.state_dict())
        self.updates = int(at_end)
        begin = self._latest + 1 if at_end else self._latest + 2
        return f"{held} from epoch {self._first + 1} on. It begins anew with epoch {begin}." if lost else ""

    def state(self) -> dict[str, Any]:
        kept = super().state() | {"latest": self._latest}
        return kept if self._before_cut is None else kept | {"beforeCut": self._before_cut}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._latest = state.get("latest", -1)
        if self._latest < self._first:
            # Of a run that was meant to be shorter: those epochs are no part of this mean.
            self.updates = 0
        self._before_cut = state.get("beforeCut")


def build_averaging(model: nn.Module, wanted: WeightAveraging | None, epochs: int, settle: Settle) -> Averaging:
    """Averaging as the request says, of a run of ``epochs``. Raises Failure ``model_invalid`` for a model that cannot be
    copied."""
    if wanted is None:
        return Averaging(model)
    if wanted.method == "ema":
        return ExponentialMovingAverage(model, wanted.decay)
    return StochasticWeightAverage(model, min(epochs - 1, math.ceil(wanted.start * epochs)), settle)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise Failure(
            "model_invalid",
            f"The weights cannot be averaged: {type(model).__name__} cannot be copied ({type(error).__name__}).",
            next_move="Drop trainingConfig.weightAveraging, or keep what cannot be copied out of the model.",
            detail=str(error),
        ) from error
