"""What a worker is told: its assignment, and its environment."""

from collections.abc import Sequence
from pathlib import Path

from app.settings import Settings, worker_environment
from app.store.interface import JobRow
from app.supervision.attempt_folder import AttemptFolder
from schemas.assignment import Assignment
from schemas.isolation import Bounds, stricter
from schemas.request import TrainingRequest


def assignment_of(settings: Settings, row: JobRow, folder: AttemptFolder, origins: Sequence[JobRow] = ()) -> Assignment:
    """The assignment of the attempt that ``row`` was claimed for. It goes on from ``origins``: the best checkpoint so far may lie
    in the run's folder of any of them."""
    request = TrainingRequest.model_validate(row.request)
    resources = request.resources
    return Assignment(
        job_id=row.job_id,
        attempt=row.attempt,
        request=request,
        engine=row.engine,
        workspace=str(settings.workspace),
        model_snapshot=str(folder.model),
        model_sha256=row.model_sha256,
        job_folder=str(folder.job),
        attempt_folder=str(folder.path),
        run_folder=str(_run_folder(settings, row)),
        devices=_as_the_worker_sees(row.assigned),
        mlflow_uri=settings.mlflow_uri,
        git_commit=row.git_commit,
        go_on=row.attempt > 1,
        isolation=stricter(settings.isolation, resources.isolation),
        bounds=Bounds(
            memory_bytes=_bytes(resources.memory_mib),
            processes=resources.processes,
            disk_bytes=_bytes(resources.disk_mib),
        ),
        home=str(settings.home),
        readable=[str(path) for path in (*settings.readable, *(_run_folder(settings, origin) for origin in origins))],
    )


def _run_folder(settings: Settings, row: JobRow) -> Path:
    save_dir = row.request.get("checkpointConfig", {}).get("saveDir")
    return settings.workspace / save_dir / row.job_id if save_dir else settings.jobs / row.job_id / "run"


def environment_of(row: JobRow) -> dict[str, str]:
    """The worker's environment: it sees the devices assigned to it and no others."""
    gpus = [device.removeprefix("cuda:") for device in row.assigned if device != "cpu"]
    return {**shared_environment(), "CUDA_VISIBLE_DEVICES": ",".join(gpus)}


def shared_environment() -> dict[str, str]:
    """What the environments of all workers have in common; each dies with its log written."""
    return {**worker_environment(), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


def _bytes(mebibytes: int | None) -> int | None:
    return None if mebibytes is None else mebibytes << 20


def _as_the_worker_sees(assigned: Sequence[str]) -> list[str]:
    """CUDA numbers the visible devices from 0."""
    return [device if device == "cpu" else f"cuda:{index}" for index, device in enumerate(assigned)]
