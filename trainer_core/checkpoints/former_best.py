"""The best checkpoint of the run that another one goes on from: it may have been moved or deleted since, also while that other
one trains."""

from pathlib import Path

from trainer_core.channel import Channel
from trainer_core.checkpoints.manifest import read_manifest
from trainer_core.failure import Failure


def find_best(best_path: str, resumed: str | None) -> str | None:
    """Where the best checkpoint lies by now: where it was or, when the run's folder has been moved, beside the one that was
    ``resumed``. None where it is gone, or not for this run to read."""
    beside = [] if resumed is None else [Path(resumed).with_name(Path(best_path).name)]
    for path in (Path(best_path), *beside):
        try:
            if read_manifest(path).is_best:
                return str(path)
        except (Failure, OSError):
            continue
    return None


def say_gone(channel: Channel, epoch: int | None, best_path: str) -> None:
    """Say that the best checkpoint is not found: no epoch is the best, as yet."""
    channel.warn(
        "best_checkpoint_gone",
        f"The best checkpoint so far, that of epoch {epoch}, is not there any more, or not for this run to read: the best epoch is "
        "one of those from here on.",
        remedy="To keep it, resume from the folder of the run that it is in.",
        path=best_path,
    )


def find_result(channel: Channel, epoch: int | None, best_path: str | None, latest_path: str | None) -> str | None:
    """The checkpoint that the result of a run is of, once it has ended: its best one, that of ``epoch``. The newest where there is
    none, or where it was deleted since, which is said."""
    if best_path is None or find_best(best_path, None) is not None:
        return best_path or latest_path
    channel.warn(
        "best_checkpoint_gone",
        f"The best checkpoint, that of epoch {epoch}, was there and is not any more: the result is the newest one.",
        remedy="Keep the folder of a run for as long as others go on from it.",
        path=best_path,
    )
    return latest_path
