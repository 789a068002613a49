"""What ``resumeFrom: "latest"`` means at this moment: the run whose newest checkpoint is the newest of all."""

import json
from collections.abc import Iterator
from pathlib import Path

from app.foreign_files import open_foreign
from schemas.checkpointing import MANIFEST_FILE

_MANIFEST_BYTES = 1 << 20


def newest_run(save_dir: Path) -> Path | None:
    """The folder with the newest checkpoint, by its manifest's time: ``save_dir``, or one at most two below it; None when
    there is no checkpoint. What is damaged is passed over."""
    folders = [folder for folder in (save_dir, *save_dir.glob("*/"), *save_dir.glob("*/*/")) if folder.is_dir()]
    found = [(time, folder) for folder in folders for time in _times(folder)]
    return max(found)[1] if found else None


def _times(folder: Path) -> Iterator[str]:
    for pattern in ("epoch-*", "step-*"):
        for path in folder.glob(pattern):
            # While it is written a checkpoint has a suffix, and when it is replaced.
            if not path.suffix and (time := _time_of(path / MANIFEST_FILE)) is not None:
                yield time


def _time_of(manifest: Path) -> str | None:
    try:
        with open_foreign(manifest) as file:
            said = json.loads(file.read(_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    time = said.get("time") if isinstance(said, dict) else None
    return time if isinstance(time, str) else None
