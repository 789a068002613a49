"""An attempt's folder for a real worker, which runs a model file of the test."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.job_folder import make_job_folder
from app.supervision.assigning import shared_environment
from app.supervision.attempt_folder import AttemptFolder
from app.supervision.nursery import NO_NURSERY, NoNursery
from app.supervision.processes import Process
from app.supervision.supervisor import WORKER_COMMAND
from app.supervision.worker_process import WorkerProcess
from schemas.assignment import Assignment
from schemas.request import TrainingRequest


def prepare(folder: Path, program: str, job_id: str = "job_1", **changes: Any) -> AttemptFolder:
    """A job of a service whose home and workspace are in ``folder``: its model file is ``program``, its data a table."""
    workspace, home = folder / "workspace", folder / "home"
    workspace.mkdir(exist_ok=True)
    rows = "".join(f"{row},{row % 2}\n" for row in range(20))
    (workspace / "table.csv").write_text("x,y\n" + rows)
    make_job_folder(home / "jobs", job_id, program.encode())
    attempt = AttemptFolder(home / "jobs", job_id, 1)
    data = {"trainPath": str(workspace / "table.csv")}
    request = {"modelPath": str(workspace / "m.py"), "dataConfig": data, "trainingConfig": {}, "engine": "sklearn"}
    values: dict[str, Any] = {
        "job_id": job_id,
        "attempt": 1,
        "request": TrainingRequest.model_validate({**request, **changes.pop("sections", {})}),
        "engine": "sklearn",
        "workspace": str(workspace),
        "model_snapshot": str(attempt.job / "model.py"),
        "model_sha256": "0",
        "job_folder": str(attempt.job),
        "attempt_folder": str(attempt.path),
        "run_folder": str(attempt.job / "run"),
        "devices": ["cpu"],
        "home": str(home),
    }
    attempt.prepare(Assignment(**{**values, **changes}))
    return attempt


def start(attempt: AttemptFolder, nursery: NoNursery = NO_NURSERY, **variables: str) -> WorkerProcess:
    """Its worker, started as the service does: forked from ``nursery`` where there is one."""
    environment = {**shared_environment(), "CUDA_VISIBLE_DEVICES": "", **variables}
    return WorkerProcess.spawn(WORKER_COMMAND, attempt, environment, nursery)


@contextmanager
def started(attempt: AttemptFolder, nursery: NoNursery = NO_NURSERY, **variables: str) -> Iterator[WorkerProcess]:
    """As ``start``; what is left of it at the end is killed."""
    worker = start(attempt, nursery, **variables)
    try:
        yield worker
    finally:
        worker.kill()
        worker.release()


def has_ended(pid: int, milliseconds: int = 60_000) -> bool:
    """Whether the process ends within that time."""
    found = Process.find(pid)
    if found is None:
        return True
    ended = found.has_ended(milliseconds)
    found.release()
    return ended
