"""An attempt's folder as the service leaves it, and what a run of three epochs says in it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.assignment import ASSIGNMENT_FILE, EVENTS_FILE, Assignment
from schemas.events import CheckpointSaved, EpochCompleted, EventData, JobStarted, RunResolved, Step
from trainer_core.channel import FileChannel


class Attempt:
    """One attempt of a job: its assignment, and the channel that its worker would write to."""

    def __init__(self, root: Path, uri: str | None, job_id: str, number: int, tracking: dict) -> None:
        folder = root / "jobs" / job_id / f"attempt-{number}"
        folder.mkdir(parents=True)
        self.folder = folder
        self.run_folder = root / "runs" / job_id
        self.assignment = Assignment.model_validate(
            {
                "jobId": job_id,
                "attempt": number,
                "request": {
                    "modelPath": "models/resnet.py",
                    "dataConfig": {"trainPath": "data/train"},
                    "trainingConfig": {"epochs": 3, "learningRate": 0.001, "optimizerArgs": {"betas": [0.9, 0.99]}},
                    "trackingConfig": tracking,
                },
                "engine": "native",
                "workspace": str(root),
                "modelSnapshot": str(root / "model.py"),
                "modelSha256": "5" * 64,
                "jobFolder": str(folder.parent),
                "attemptFolder": str(folder),
                "runFolder": str(self.run_folder),
                "devices": ["cpu"],
                "mlflowUri": uri,
                "gitCommit": "0123abc-dirty",
            }
        )
        (folder / ASSIGNMENT_FILE).write_text(self.assignment.model_dump_json(by_alias=True, exclude_none=True))
        self.channel = FileChannel(folder / EVENTS_FILE)

    @property
    def metrics(self) -> str:
        """The text of metrics.csv."""
        return (self.run_folder / "metrics.csv").read_text()

    def say(self, *events: EventData) -> None:
        """Append events to the log."""
        for event in events:
            self.channel.emit(event)

    def run(self) -> None:
        """Say what a worker says that trains three epochs; the second is the best."""
        self.say(
            JobStarted(pid=1, engine="native", devices=["cpu"], versions={"torch": "2.13.0"}),
            RunResolved(resolved=self.assignment.request.to_json(), chosen={}),
        )
        for epoch in (1, 2, 3):
            self.say(
                Step(epoch=epoch, step=10 * epoch, total_steps=30, loss=0.5, samples_per_second=100.0, memory_bytes=7),
                EpochCompleted(epoch=epoch, train_loss=1 / epoch, val_loss=0.5, metrics={"valR2": epoch / 10}),
                CheckpointSaved(
                    path=f"/run/epoch-{epoch}",
                    kind="epoch",
                    epoch=epoch,
                    step=10 * epoch,
                    bytes=1,
                    sha256=str(epoch) * 64,
                    is_best=epoch <= 2,
                ),
            )


@pytest.fixture
def make_attempt(tmp_path: Path) -> Callable[..., Attempt]:
    """Makes attempts under ``tmp_path``: ``make_attempt(uri, job_id=, number=, **trackingConfig)``."""

    def make(uri: str | None = None, *, job_id: str = "job-1", number: int = 1, **tracking: object) -> Attempt:
        return Attempt(tmp_path, uri, job_id, number, tracking)

    return make
