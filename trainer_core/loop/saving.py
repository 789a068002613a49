"""What a checkpoint keeps of a run, when it is written, and how a run goes on from one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from schemas.checkpointing import CheckpointConfig
from schemas.result import Place
from trainer_core.channel import Channel
from trainer_core.checkpoints.checkpoint import CheckpointFolder, Snapshot, find_checkpoint
from trainer_core.checkpoints.manifest import Kind, read_manifest
from trainer_core.failure import Failure
from trainer_core.loop import randomness
from trainer_core.loop.metrics.metrics import Figures
from trainer_core.loop.position import Position
from trainer_core.loop.ranks import Ranks


class Keeps(Protocol):
    """A part of the run with a state of its own."""

    def state(self) -> Any: ...


class Restores(Keeps, Protocol):
    """One that goes on from that state."""

    def restore(self, state: Any) -> None: ...


class Saving:
    """Gathers a run's state from its parts and writes it; the first rank writes, the others only give what is theirs.

    ``parts`` are the parts with a state, by the name under which a checkpoint keeps it; ``definition`` those that are kept
    only to be compared. ``best_path`` is the best
    checkpoint so far, that of a run before a resume included.
    """

    def __init__(
        self,
        run_folder: Path,
        config: CheckpointConfig,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        parts: Mapping[str, Restores],
        definition: Mapping[str, Keeps],
        figures: Figures,
        ranks: Ranks,
        channel: Channel,
        device: torch.device,
        about: dict[str, str],
    ) -> None:
        self._folder = CheckpointFolder(run_folder, config.keep_last) if ranks.first else None
        self._config = config
        self._model = model
        self._optimizer = optimizer
        self._parts = parts
        self._definition = definition
        self._figures = figures
        self._ranks = ranks
        self._channel = channel
        self._device = device
        self._about = about
        self.best_path: str | None = None
        self.latest_path: str | None = None

    def due(self, epoch: int, is_best: bool, ends: bool) -> bool:
        """Whether to save after the completed ``epoch``: every saveEvery epochs, at the end, and whenever it is the best."""
        return ends or is_best or epoch % self._config.save_every == 0

    def due_in_epoch(self, position: Position) -> bool:
        """Whether to save in mid-epoch, after the latest step."""
        every = self._config.save_every_steps
        return every is not None and position.step % every == 0

    def save(self, kind: Kind, position: Position, is_best: bool = False) -> None:
        """Write a checkpoint and say so. All ranks take part. Raises OSError when the disk is full."""
        snapshot = self._snapshot(is_best)
        if self._folder is None:
            return
        saved = self._folder.save(snapshot, kind=kind, epoch=position.number, step=position.step, is_best=is_best)
        self.latest_path = saved.path
        self.best_path = saved.path if is_best else self.best_path
        self._channel.emit(saved)

    def _snapshot(self, is_best: bool) -> Snapshot:
        self._ranks.share_buffers(self._model)
        state = {name: part.state() for name, part in {**self._parts, **self._definition}.items()}
        # The path of a checkpoint that is itself the best is not known yet; absent means: this one.
        state["bestPath"] = None if is_best else self.best_path
        state["optimizer"] = type(self._optimizer).__name__
        state["trainingFigures"] = self._training_figures()
        random = self._ranks.gather(randomness.capture(self._device))
        return Snapshot(self._model.state_dict(), self._optimizer.state_dict(), state, random, self._about)

    def _training_figures(self) -> dict[str, Tensor]:
        """The running figures of all ranks. Merged they are kept by the first rank, so that their total stays what it is."""
        if self._ranks.world > 1:
            self._figures.merge(self._ranks)
            if not self._ranks.first:
                self._figures.reset()
        return self._figures.state()

    def restore(self, snapshot: Snapshot) -> None:
        """Put everything back. Raises Failure ``checkpoint_incompatible`` for a checkpoint of another model."""
        check_model(self._model, snapshot)
        try:
            self._model.load_state_dict(snapshot.model)
        except RuntimeError as error:
            raise Failure(
                "checkpoint_incompatible",
                f"The model does not take back the state in {snapshot.path}.",
                place=Place(path=str(snapshot.path), pointer="/checkpointConfig/resumeFrom"),
                detail=str(error),
            ) from error
        _restore_optimizer(self._optimizer, snapshot)
        for name, part in self._parts.items():
            part.restore(snapshot.state[name])
        if self._ranks.first:
            self._figures.restore(snapshot.state["trainingFigures"])
        if self._ranks.index < len(snapshot.random):
            randomness.restore(snapshot.random[self._ranks.index], self._device)
        self.latest_path = str(snapshot.path)
        self.best_path = snapshot.state["bestPath"] or self.latest_path


def saved_threads(config: CheckpointConfig) -> int | None:
    """CPU threads of the run that ``resumeFrom`` names; None without one, or where it is unknown. With another number
    sums are rounded in another order, and a resume would not be exact to the bit."""
    if config.resume_from is None:
        return None
    path = find_checkpoint(config.resume_from, None if config.save_dir is None else Path(config.save_dir))
    about = read_manifest(path).about
    return int(about["threads"]) if "threads" in about else None


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


def _restore_optimizer(optimizer: torch.optim.Optimizer, snapshot: Snapshot) -> None:
    """Put the optimizer's state back; its rates and hyperparameters stay those of this request."""
    here = optimizer.state_dict()["param_groups"]
    there = snapshot.optimizer["param_groups"]
    name = type(optimizer).__name__
    same_parameters = [group.get("param_names") for group in here] == [group.get("param_names") for group in there]
    if snapshot.state["optimizer"] != name or not same_parameters:
        what = "other trainable parameters" if not same_parameters else f"the optimizer {snapshot.state['optimizer']}"
        raise Failure(
            "checkpoint_incompatible",
            f"{snapshot.path} is of a run with {what}; this one has {name}.",
            next_move="Resume with the optimizer that wrote the checkpoint, or drop resumeFrom.",
            place=Place(path=str(snapshot.path), pointer="/checkpointConfig/resumeFrom"),
        )
    optimizer.load_state_dict({"state": snapshot.optimizer["state"], "param_groups": here})
