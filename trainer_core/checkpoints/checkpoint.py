"""Checkpoints of a torch run: verified when read, and never a pickle.

For each part (model, optimizer, state, random) the tensors are in ``PART.safetensors`` and the rest in ``PART.json``.
"""

from dataclasses import dataclass
from pathlib import Path

from trainer_core.checkpoints.checkpoint_folder import (
    BEST,
    LATEST,
    CheckpointFolder,
    complete_checkpoints,
    find_checkpoint,
    unreadable_checkpoints,
)
from trainer_core.checkpoints.snapshot import Snapshot, load_snapshot
from trainer_core.failure import Failure

__all__ = [
    "BEST",
    "LATEST",
    "CheckpointFolder",
    "Skipped",
    "Snapshot",
    "complete_checkpoints",
    "find_checkpoint",
    "load_newest_good",
    "load_snapshot",
]


@dataclass(frozen=True)
class Skipped:
    """A checkpoint that could not be used, and why."""

    path: Path
    reason: str


def load_newest_good(run_folder: Path) -> tuple[Snapshot, list[Skipped]]:
    """The newest checkpoint of ``run_folder`` that is whole, and the newer ones that are not.

    Raises Failure ``checkpoint_corrupt`` when none is whole, ``checkpoint_incompatible`` when there is none.
    """
    skipped = [Skipped(path, str(reason)) for path, reason in unreadable_checkpoints(run_folder)]
    for path, _ in complete_checkpoints(run_folder):
        try:
            return load_snapshot(path), skipped
        except Failure as failure:
            skipped.append(Skipped(path, str(failure)))
    if not skipped:
        raise Failure("checkpoint_incompatible", f"There is no checkpoint in {run_folder}.")
    reasons = "; ".join(one.reason for one in skipped)
    raise Failure("checkpoint_corrupt", f"No checkpoint in {run_folder} is whole: {reasons}")
