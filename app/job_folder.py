"""The folder of a job, made before the job is accepted and gone again when it is not."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from schemas.files import sync_folder, write_atomically

MODEL_FILE = "model.py"

_log = logging.getLogger(__name__)


def make_job_folder(jobs: Path, job_id: str, model: bytes) -> Path:
    """Make the folder with the model file's snapshot, durably. Raises OSError, and then leaves nothing."""
    folder = jobs / job_id
    if not jobs.exists():
        jobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(jobs.parent)
    folder.mkdir(mode=0o700)
    try:
        write_atomically(folder / MODEL_FILE, model)
        sync_folder(jobs)
    except OSError:
        remove_job_folder(jobs, job_id)
        raise
    return folder


def remove_strays(jobs: Path, known: Callable[[], frozenset[str]], tombstone: Callable[[str], object | None]) -> None:
    """Take away the folders of jobs that are not ``known`` because their service ended between making and accepting them
    (they hold the model file alone), or between forgetting them and taking their folders away (there is a ``tombstone``).
    Before any job is accepted.

    The others are of a database that was lost, and what was trained is in them: they stay, and the log says so.
    """
    there, known_ids = [folder.name for folder in jobs.glob("job_*")], known()
    left = []
    for name in sorted(set(there) - known_ids):
        if tombstone(name) is not None or _was_never_accepted(jobs / name):
            remove_job_folder(jobs, name)
        else:
            left.append(name)
    if left:
        what = "%d folders in %s are of jobs that the database does not know, such as %s. They are left alone: delete "
        _log.warning(what + "them where nobody needs their checkpoints.", len(left), jobs, left[-1])


def _was_never_accepted(folder: Path) -> bool:
    return all(entry.name.startswith(MODEL_FILE) for entry in folder.iterdir())


def remove_job_folder(jobs: Path, job_id: str) -> None:
    """Take away the folder of a job that was not accepted, or was deleted."""
    shutil.rmtree(jobs / job_id, ignore_errors=True)
