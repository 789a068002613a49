"""All that a run needs to go on, gathered from its parts, and put back into them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from schemas.result import Place
from trainer_core.checkpoints.best_checkpoint import BestCheckpoint
from trainer_core.checkpoints.snapshot import Snapshot
from trainer_core.failure import Failure
from trainer_core.loop import randomness
from trainer_core.loop.averaging import Averaging
from trainer_core.loop.metrics.metrics import Figures
from trainer_core.loop.ranks import Ranks


class Keeps(Protocol):
    """A part of the run with a state of its own."""

    def state(self) -> Any: ...


class Restores(Keeps, Protocol):
    """One that goes on from that state."""

    def restore(self, state: Any) -> None: ...


@dataclass(frozen=True)
class RunState:
    """What a checkpoint keeps of a run on ``ranks``; all of them take part, and each gives what is its own.

    ``parts`` are the parts with a state, by the name under which a checkpoint keeps it; ``definition`` those that are
    kept only to be compared; ``about`` stands in the manifest for people. The checkpoint's model is the one that is
    evaluated, and ``weights`` there says whether these are the trained weights or an average.
    """

    model: nn.Module
    averaging: Averaging
    optimizer: torch.optim.Optimizer
    parts: Mapping[str, Restores]
    definition: Mapping[str, Keeps]
    figures: Figures
    ranks: Ranks
    device: torch.device
    about: dict[str, str]

    def capture(self, best: BestCheckpoint) -> Snapshot:
        """The state now, of a checkpoint that is to be written; ``best`` is the best one so far."""
        evaluated = self.averaging.evaluated()
        self.ranks.share_buffers(evaluated)
        state = {name: part.state() for name, part in {**self.parts, **self.definition}.items()}
        state["averaging"] = {
            name: self.ranks.whole_model(value) if isinstance(value, dict) else value
            for name, value in self.averaging.state().items()
        }
        state["bestCheckpoint"] = best.state()
        state["optimizer"] = type(self.optimizer).__name__
        state["trainingFigures"] = self._training_figures()
        random = self.ranks.gather(randomness.capture(self.device))
        about = self.about | {"weights": "trained" if evaluated is self.model else self.averaging.name}
        model, optimizer = self.ranks.whole_model(evaluated.state_dict()), self.ranks.whole_optimizer(self.optimizer)
        return Snapshot(model, optimizer, state, random, about)

    def _training_figures(self) -> dict[str, Tensor]:
        """The running figures of all ranks. Merged they are kept by the first rank, so that their total stays what it is."""
        if self.ranks.world > 1:
            self.figures.merge(self.ranks)
            if not self.ranks.first:
                self.figures.reset()
        return self.figures.state()

    def restore(self, snapshot: Snapshot) -> None:
        """Put everything back. Raises Failure ``checkpoint_incompatible`` for a checkpoint of another model."""
        check_model(self.model, snapshot)
        try:
            self.model.load_state_dict(self.ranks.held_model(self.model, snapshot.model))
        except RuntimeError as error:
            raise Failure(
                "checkpoint_incompatible",
                f"The model does not take back the state in {snapshot.path}.",
                place=Place(path=str(snapshot.path), pointer="/checkpointConfig/resumeFrom"),
                detail=str(error),
            ) from error
        _restore_optimizer(self.optimizer, snapshot, self.ranks)
        self.averaging.restore(
            {
                name: self.ranks.held_model(self.model, value) if isinstance(value, dict) else value
                for name, value in snapshot.state["averaging"].items()
            }
        )
        for name, part in self.parts.items():
            part.restore(snapshot.state[name])
        if self.ranks.first:
            self.figures.restore(snapshot.state["trainingFigures"])
        else:
            self.figures.reset()
        if self.ranks.index < len(snapshot.random):
            randomness.restore(snapshot.random[self.ranks.index], self.device)


def check_model(model: nn.Module, snapshot: Snapshot) -> None:
    """Raise ``checkpoint_incompatible``, naming the first parameter that differs, unless ``snapshot`` is of this model."""
    wanted, found = _shapes(model.state_dict()), _shapes(snapshot.model)
    if wanted == found:
        return
    name = next(name for name in [*wanted, *found] if wanted.get(name) != found.get(name))
    here, there = (str(list(shapes[name])) if name in shapes else "absent" for shapes in (wanted, found))
    raise Failure(
        "checkpoint_incompatible",
        f"{snapshot.path} is of another model: {name} is {there} in the checkpoint and {here} in the model.",
        place=Place(path=str(snapshot.path), pointer="/checkpointConfig/resumeFrom"),
    )


def _shapes(state_dict: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes by name; what modules keep beside tensors (``get_extra_state``) has none."""
    return {name: tuple(value.shape) for name, value in state_dict.items() if isinstance(value, Tensor)}


def _restore_optimizer(optimizer: torch.optim.Optimizer, snapshot: Snapshot, ranks: Ranks) -> None:
    """Put the optimizer's state back; its rates and hyperparameters stay those of this request."""
    here = optimizer.state_dict()["param_groups"]
    there = snapshot.optimizer["param_groups"]
    name = type(optimizer).__name__
    if snapshot.state["optimizer"] != name:
        what, move = f"the optimizer {snapshot.state['optimizer']}; this one has {name}", "the optimizer"
    elif _members(here) != _members(there):
        what, move = "other trainable parameters or groups of them", "the modelConfig.freeze and parameterGroups"
    else:
        what = move = ""
    if what:
        raise Failure(
            "checkpoint_incompatible",
            f"{snapshot.path} is of a run with {what}.",
            next_move=f"Resume with {move} of the run that wrote the checkpoint, or drop resumeFrom.",
            place=Place(path=str(snapshot.path), pointer="/checkpointConfig/resumeFrom"),
        )
    state = {"state": snapshot.optimizer["state"], "param_groups": here}
    optimizer.load_state_dict(ranks.held_optimizer(optimizer, state))


def _members(groups: list[dict[str, Any]]) -> list[list[str]]:
    """The names of the parameters of each group."""
    return [group["param_names"] for group in groups]
