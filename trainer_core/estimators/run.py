"""The run of an estimator: epochs, their figures, their checkpoints."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.checkpointing import CheckpointConfig
from schemas.events import CheckpointSaved, EarlyStopTriggered, EpochCompleted, EpochStarted, RunFinalizing
from schemas.losses import Task
from schemas.result import EpochRow
from schemas.text import untrusted
from trainer_core.channel import Channel
from trainer_core.checkpoints.best_checkpoint import ITSELF, BestCheckpoint
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder
from trainer_core.checkpoints.manifest import Kind
from trainer_core.epochs.best import Best
from trainer_core.epochs.curve import Curve, row_of
from trainer_core.epochs.early_stopping import EarlyStop
from trainer_core.estimators.checkpoint import EstimatorParts
from trainer_core.estimators.learner import Learner
from trainer_core.estimators.scores import Scorer
from trainer_core.monitors.watch import Watch
from trainer_core.stop import Stop

State = Literal["running", "succeeded", "early_stopped", "stopped"]


@dataclass(frozen=True)
class Side:
    """Samples as an estimator takes them: inputs (samples, features), targets (samples,)."""

    inputs: NDArray
    targets: NDArray


@dataclass
class Run:
    """Trains a learner for ``epochs`` epochs, of which ``epoch`` are done."""

    learner: Learner
    train: Side
    validation: Side | None
    scorer: Scorer
    best: Best
    stopping: EarlyStop
    curve: Curve
    watch: Watch
    folder: CheckpointFolder
    config: CheckpointConfig
    channel: Channel
    stop: Stop
    epochs: int
    about: dict[str, str]
    epoch: int = 0
    saved_epoch: int = 0
    best_path: str | None = None
    latest_path: str | None = None
    told: set[str] = field(default_factory=set)

    def go(self) -> Literal["succeeded", "early_stopped", "stopped"]:
        """Train until the last epoch, an early stop, or a request to stop, which is looked at between two epochs."""
        began = time.monotonic()
        state: State = "succeeded" if self.epoch >= self.epochs else "running"
        while state == "running":
            state = self.one_epoch()
        if state != "stopped":
            self.channel.emit(RunFinalizing(epochs_trained=len(self.curve.rows), seconds=time.monotonic() - began))
        return state

    def one_epoch(self) -> State:
        """Learn, score, judge, save."""
        if self.stop.requested:
            if self.epoch > self.saved_epoch:
                self.save("cancel", is_best=False)
            return "stopped"
        began = time.monotonic()
        self.channel.emit(EpochStarted(epoch=self.epoch + 1, epochs=self.epochs, steps=1))
        warnings = self.learner.learn(self.epoch + 1, self.train.inputs, self.train.targets)
        learnt = time.monotonic()
        self.epoch += 1
        self.warn(warnings)
        row = self.row(began, learnt)
        is_best = self.best.observe(row)
        verdict = self.stopping.observe(row)
        self.curve.add(row)
        self.channel.emit(EpochCompleted(**row.model_dump(), is_best=is_best))
        self.watch.epoch(row)
        state: State = "succeeded" if self.epoch >= self.epochs else "running"
        if state == "running" and verdict == "stop":
            state = "early_stopped"
            self.channel.emit(
                EarlyStopTriggered(
                    epoch=self.epoch,
                    best_epoch=self.stopping.best_epoch,
                    patience=self.stopping.patience,
                    monitor=self.stopping.monitor,
                )
            )
        if is_best or state != "running" or self.epoch % self.config.save_every == 0:
            self.save("epoch" if state == "running" else "final", is_best)
        return state

    def warn(self, warnings: dict[str, str]) -> None:
        """Pass on each category of warnings once a run; the texts are the library's."""
        for category in warnings.keys() - self.told:
            message = f"{self.learner.name} gave a {category} in epoch {self.epoch}."
            self.channel.warn("estimator_warning", message, text=untrusted(warnings[category]))
        self.told |= warnings.keys()

    def warn_left_out(self, reason: str) -> None:
        """Say, once, why a figure that one could expect is not there; nothing for an empty ``reason``."""
        if reason and reason not in self.told:
            self.told.add(reason)
            self.channel.warn("figures_left_out", f"Some figures are left out: {reason}.")

    def row(self, began: float, learnt: float) -> EpochRow:
        """The epoch's row of the learning curve; speed is that of learning, seconds include the scoring."""
        figures = self.scorer.score(self.learner.estimator, self.train.inputs, self.train.targets, "train")
        if self.validation is not None:
            figures |= self.scorer.score(self.learner.estimator, self.validation.inputs, self.validation.targets, "val")
            self.warn_left_out(self.scorer.omitted)
        speed = len(self.train.inputs) / max(learnt - began, 1e-9)
        ended = time.monotonic()
        return row_of(
            self.epoch,
            figures,
            None,
            speed,
            step=self.epoch,
            seconds=ended - began,
            waited=0.0,
            evaluated=ended - learnt,
        )

    def save(self, kind: Kind, is_best: bool) -> CheckpointSaved:
        """Write a checkpoint and say so. Raises OSError when the disk is full."""
        began = time.monotonic()
        parts = EstimatorParts(self.learner.estimator, self.state(is_best), self.about)
        saved = self.folder.save(parts, kind=kind, epoch=self.epoch, step=self.epoch, is_best=is_best)
        self.saved_epoch = self.epoch
        self.latest_path = saved.path
        self.best_path = saved.path if is_best else self.best_path
        seconds = time.monotonic() - began
        self.channel.emit(saved.model_copy(update={"seconds": seconds, "stall_seconds": seconds}))
        return saved

    def state(self, is_best: bool) -> dict[str, Any]:
        """What takes the run on from the checkpoint that is to be written."""
        return {
            "epoch": self.epoch,
            "best": self.best.state(),
            "stopping": self.stopping.state(),
            "curve": self.curve.state(),
            "watch": self.watch.state(),
            "bestCheckpoint": (ITSELF if is_best else BestCheckpoint(self.best_path)).state(),
        }

    def restore(self, path: Path, parts: EstimatorParts) -> None:
        """Go on from the checkpoint at ``path``."""
        self.learner.estimator = parts.estimator
        self.epoch = self.saved_epoch = parts.state["epoch"]
        self.best.restore(parts.state["best"])
        self.stopping.restore(parts.state["stopping"])
        self.curve.restore(parts.state["curve"])
        self.watch.restore(parts.state["watch"])
        self.latest_path = str(path)
        self.best_path = BestCheckpoint.of(parts.state).found_at(self.latest_path)


def as_side(samples: tuple[Any, Any], task: Task) -> Side:
    """Inputs and targets as arrays: every sample flattened, classes as whole numbers."""
    inputs, targets = (np.asarray(part) for part in samples)
    targets = targets.ravel() if targets.ndim == 2 and targets.shape[1] == 1 else targets
    return Side(inputs.reshape(len(inputs), -1), targets if task == "regression" else targets.astype(np.int64))
