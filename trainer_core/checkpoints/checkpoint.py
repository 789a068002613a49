"""Checkpoints of a torch run: verified when read, and never a pickle.

For each part (model, optimizer, state, random) the tensors are in ``PART.safetensors`` and the rest in ``PART.json``.
"""

from pathlib import Path

from trainer_core.checkpoints.checkpoint_folder import (
    BEST,
    LATEST,
    CheckpointFolder,
    complete_checkpoints,
    find_checkpoint,
)
from trainer_core.checkpoints.resumption import Skipped, load_newest
from trainer_core.checkpoints.snapshot import Snapshot, load_snapshot

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


def load_newest_good(run_folder: Path) -> tuple[Snapshot, list[Skipped]]:
    """The newest snapshot of ``run_folder`` that is whole; see ``load_newest``."""
    return load_newest(run_folder, load_snapshot)
