"""The folder of a job, made before the job is accepted and gone again when it is not."""

import shutil
from collections.abc import Callable
from pathlib import Path

from schemas.files import sync_folder, write_atomically

MODEL_FILE = "model.py"


def make_job_folder(jobs: Path, job_id: str, model: bytes) -> Path:
    """Make the folder with the model file's snapshot, durably. Raises OSError, and then leaves nothing."""
    folder = jobs / job_id
    folder.mkdir(mode=0o700, parents=True)
    try:
        write_atomically(folder / MODEL_FILE, model)
        sync_folder(jobs)
    except OSError:
        remove_job_folder(jobs, job_id)
        raise
    return folder


def remove_strays(jobs: Path, known: Callable[[], frozenset[str]]) -> None:
    """Take away the folders of jobs that are not ``known``: their service ended between making and accepting them, or
    between forgetting them and taking their folders away. Before any job is accepted."""
    there, known_ids = [folder.name for folder in jobs.glob("job_*")], known()
    for name in there:
        if name not in known_ids:
            remove_job_folder(jobs, name)


def remove_job_folder(jobs: Path, job_id: str) -> None:
    """Take away the folder of a job that was not accepted, or was deleted."""
    shutil.rmtree(jobs / job_id, ignore_errors=True)
