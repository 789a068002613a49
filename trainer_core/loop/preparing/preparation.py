"""What is done to a model between its being built and its first pass, in order, and the account of it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from torch import nn

from schemas.events import MAX_MODULES, Alert
from schemas.model import ModuleRow, Names, WeightsReport
from schemas.request import TrainingRequest
from trainer_core.loop.preparing import activation_checkpointing, weights
from trainer_core.loop.preparing.activation_checkpointing import recompute_activations
from trainer_core.loop.preparing.freezing import freeze
from trainer_core.loop.preparing.summary import Shapes, summarise
from trainer_core.loop.preparing.weights import load_weights

_SUPERSEDED = Alert(
    code="weights_superseded",
    level="info",
    message="modelConfig.weights was not read: the run goes on from a checkpoint, which has all of the model's weights.",
)


@dataclass(frozen=True)
class Preparation:
    """What was done: weights loaded, parameters frozen (by name), alerts of it; and the shapes that come out of the
    modules of ``model``, once they were watched."""

    model: nn.Module
    weights: WeightsReport | None
    frozen: Sequence[str]
    alerts: Sequence[Alert]
    _shapes: Shapes = field(default_factory=Shapes)

    def watching(self) -> AbstractContextManager[None]:
        """Note the shapes of what modules put out in a pass that is taken inside."""
        return self._shapes.watching(self.model)

    def summary(self) -> list[ModuleRow]:
        """A row for each module."""
        return summarise(self.model, self._shapes)

    def first_modules(self) -> list[ModuleRow]:
        """As many rows as an event carries."""
        return self.summary()[:MAX_MODULES]

    def frozen_names(self) -> Names | None:
        """The frozen parameters, where any are."""
        return Names.of(list(self.frozen)) if self.frozen else None


def prepare(model: nn.Module, request: TrainingRequest) -> Preparation:
    """Load weights, freeze, and have activations computed again, as the request says; what it leaves out is not done.

    A run that goes on from a checkpoint takes all its weights from there. Raises Failure ``input_invalid`` with the place.
    """
    settings, blocks_wanted = request.model_settings, request.training_config.gradient_checkpointing
    resumes = request.checkpoint_config.resume_from is not None
    report = None if settings.pretrained is None or resumes else load_weights(model, settings.pretrained)
    superseded = [_SUPERSEDED] if resumes and settings.pretrained is not None else []
    frozen = freeze(model, settings.freeze)
    blocks = recompute_activations(model, blocks_wanted)
    alerts = [
        *superseded,
        *([] if report is None else weights.alerts_of(report)),
        *activation_checkpointing.alerts_of(blocks_wanted, blocks),
    ]
    return Preparation(model, report, frozen, alerts)
