"""A place to run an engine in: real data, a model file, an assignment, and a worker process of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

from app.supervision.assigning import shared_environment
from app.supervision.nursery import Nursery
from schemas.assignment import ASSIGNMENT_FILE, EVENTS_FILE, OUTCOME_FILE, Assignment, Outcome
from schemas.events import EVENT_DATA, EventData, JobStarted, WorkerLine
from schemas.nursery import MARK


@dataclass(frozen=True)
class Attempt:
    """What a worker process left."""

    status: int
    errors: str
    said: list[EventData]
    outcome: Outcome

    @property
    def kinds(self) -> list[str]:
        """Types of the events, in order."""
        return [data.event_type for data in self.said]

    def of(self, kind: type) -> list[Any]:
        """Events of one class."""
        return [data for data in self.said if isinstance(data, kind)]


@dataclass(frozen=True)
class Workspace:
    """A folder with real data under ``data/``."""

    folder: Path

    def assign(
        self, name: str, engine: str, model: str, data: str, in_force: str = "none", **sections: dict[str, Any]
    ) -> Assignment:
        """An assignment to train ``model`` (source text) on ``data``; ``sections`` are merged into the request, whatever
        it says of isolation, ``in_force`` holds."""
        job = self.folder / name
        attempt = job / "attempt"
        attempt.mkdir(parents=True)
        path = job / f"model_{name}.py"
        path.write_text(model)
        request: dict[str, Any] = {
            "modelPath": str(path),
            "dataConfig": {"trainPath": str(self.folder / "data" / data)},
            "trainingConfig": {},
        }
        for section, values in sections.items():
            request[section] = {**request.get(section, {}), **values}
        assignment = Assignment.model_validate(
            {
                "jobId": name,
                "attempt": 1,
                "request": request,
                "engine": engine,
                "workspace": str(self.folder),
                "modelSnapshot": str(path),
                "modelSha256": "0" * 64,
                "jobFolder": str(job),
                "attemptFolder": str(attempt),
                "runFolder": str(job / "run"),
                "devices": ["cpu"],
                "isolation": in_force,
            }
        )
        (attempt / ASSIGNMENT_FILE).write_text(json.dumps(assignment.to_json()))
        return assignment


def work(assignment: Assignment) -> Attempt:
    """Run the worker's own command on the assignment's folder, and read what it left; every event validates."""
    done = subprocess.run(
        [sys.executable, "-m", "trainer_core.worker", assignment.attempt_folder],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
    )
    return left_by(assignment, done.returncode, done.stderr)


def work_forked(nursery: Nursery, assignment: Assignment) -> Attempt:
    """The same by a worker of the nursery, which need not import what is slow to import."""
    folder = Path(assignment.attempt_folder)
    environment = {**shared_environment(), "CUDA_VISIBLE_DEVICES": "", MARK: str(folder)}
    with (folder / "lock").open("wb") as lock, (folder / "worker.log").open("wb") as log:
        forked = nursery.fork(folder, environment, lock.fileno(), log.fileno())
    assert forked is not None
    forked.begin()
    assert forked.process.has_ended(100_000)
    status = forked.status()
    forked.process.release()
    forked.release()
    assert status is not None
    attempt = left_by(assignment, status, (folder / "worker.log").read_text())
    assert [started.start for started in attempt.of(JobStarted)] == ["warm"]
    return attempt


def left_by(assignment: Assignment, status: int, errors: str) -> Attempt:
    """What is in the attempt's folder."""
    folder = Path(assignment.attempt_folder)
    lines = [WorkerLine.model_validate_json(line) for line in (folder / EVENTS_FILE).read_text().splitlines()]
    said = [EVENT_DATA[line.type].model_validate(line.data) for line in lines]
    outcome = Outcome.model_validate_json((folder / OUTCOME_FILE).read_bytes())
    return Attempt(status, errors, said, outcome)


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets that come with scikit-learn, as files."""
    folder = tmp_path_factory.mktemp("real") / "data"
    folder.mkdir()
    digits = load_digits()
    np.savez(folder / "digits.npz", x=(digits.data[:600] / 16).astype(np.float32), y=digits.target[:600])
    for name, bunch in (("cancer", load_breast_cancer), ("diabetes", load_diabetes), ("iris", load_iris)):
        bunch(as_frame=True).frame.to_csv(folder / f"{name}.csv", index=False)
    wine = load_wine(as_frame=True)
    wine.data.assign(grower=[f"grower {number}" for number in wine.target]).to_csv(folder / "wine.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Iterator[Workspace]:
    """A workspace for the tests of one file; what their model files put on the path is taken off again."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(real_data, folder / "data")
    before = list(sys.path)
    yield Workspace(folder)
    sys.path[:] = before


@pytest.fixture(scope="session")
def worker() -> Callable[[Assignment], Attempt]:
    """Runs a worker on an assignment, as a program of its own."""
    return work


@pytest.fixture(scope="session")
def warm_worker(nursery: Nursery) -> Callable[[Assignment], Attempt]:
    """Runs a worker on an assignment, forked from a nursery."""
    return partial(work_forked, nursery)
