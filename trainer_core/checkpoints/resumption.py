"""Which checkpoint a run goes on from: the one that is named, or the newest that is whole. Whatever engine wrote it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from schemas.checkpointing import BEST, LATEST, MANIFEST_FILE, CheckpointConfig
from trainer_core.channel import Channel
from trainer_core.checkpoints.checkpoint_folder import (
    complete_checkpoints,
    find_checkpoint,
    unreadable_checkpoints,
)
from trainer_core.failure import Failure

T = TypeVar("T")


@dataclass(frozen=True)
class Skipped:
    """A checkpoint that could not be used, and why."""

    path: Path
    reason: str


def load_resumed(config: CheckpointConfig, load: Callable[[Path], T], channel: Channel) -> T:
    """What ``load`` makes of the checkpoint that ``resumeFrom`` means. One that is named, and the best, must be whole; in a
    run's folder, and for ``latest``, the newest whole one is taken, with an alert for each that was not.

    Raises Failure as ``find_checkpoint`` and ``load`` do.
    """
    assert config.resume_from is not None
    path = find_checkpoint(config.resume_from, None if config.save_dir is None else Path(config.save_dir))
    named = Path(config.resume_from)
    if config.resume_from != LATEST and ((named / MANIFEST_FILE).exists() or named.name == BEST):
        return load(path)
    loaded, skipped = load_newest(path.parent, load)
    for one in skipped:
        message = f"{one.path} is damaged and was left aside: {one.reason}"
        channel.warn("checkpoint_skipped", message, path=str(one.path))
    return loaded


def load_newest(run_folder: Path, load: Callable[[Path], T]) -> tuple[T, list[Skipped]]:
    """What ``load`` makes of the newest checkpoint of ``run_folder`` that is whole, and the newer ones that are not.

    Raises Failure ``checkpoint_corrupt`` when none is whole, ``checkpoint_incompatible`` when there is none, and any other
    that ``load`` raises: a whole checkpoint of another model is no damage.
    """
    skipped = [Skipped(path, str(reason)) for path, reason in unreadable_checkpoints(run_folder)]
    for path, _ in complete_checkpoints(run_folder):
        try:
            return load(path), skipped
        except Failure as failure:
            if failure.error.code != "checkpoint_corrupt":
                raise
            skipped.append(Skipped(path, str(failure)))
    if not skipped:
        raise Failure("checkpoint_incompatible", f"There is no checkpoint in {run_folder}.")
    reasons = "; ".join(one.reason for one in skipped)
    raise Failure("checkpoint_corrupt", f"No checkpoint in {run_folder} is whole: {reasons}")
