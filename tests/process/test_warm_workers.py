"""A worker that was forked from the nursery is as one that was started for its job alone."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.supervision.assigning import shared_environment
from app.supervision.attempt_folder import AttemptFolder
from app.supervision.nursery import Forked, Nursery
from tests.app.scene import open_gate
from tests.process.real_worker import has_ended, prepare, started

# Says what a worker has when the model file runs, and waits.
MODEL = """
import json, os, random, sys, tempfile
import numpy, torch

def files():
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            yield os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass

found = {
    "files": [*files()], "environment": dict(os.environ), "shown": open("/proc/self/environ", "rb").read().decode(),
    "folder": os.getcwd(), "arguments": sys.argv[1:], "session": os.getsid(0), "tasks": len(os.listdir("/proc/self/task")),
    "drawn": [random.random(), numpy.random.random(), torch.rand(()).item()], "threads": torch.get_num_threads(),
    "temporary": tempfile.gettempdir(),
}

with open("FOUND", "w") as file:
    json.dump(found, file)
open("GATE").read()
"""


def attempt_of(folder: Path, job_id: str) -> AttemptFolder:
    gate = folder / f"gate_{job_id}"
    os.mkfifo(gate)
    program = MODEL.replace("FOUND", str(folder / f"found_{job_id}")).replace("GATE", str(gate))
    return prepare(folder, program, job_id)


def found(folder: Path, job_id: str) -> dict[str, Any]:
    """What the worker has found; it goes on then."""
    open_gate(folder / f"gate_{job_id}")
    facts: dict[str, Any] = json.loads((folder / f"found_{job_id}").read_text())
    return facts


def how_started(attempt: AttemptFolder) -> str:
    """How the worker says that it was started."""
    said = json.loads(attempt.events.read_text().splitlines()[0])
    assert said["type"] == "job.started"
    return str(said["data"].get("start", "cold"))


def test_it_has_nothing_of_the_nursery_nor_of_another_job(tmp_path: Path, nursery: Nursery):
    attempts = [attempt_of(tmp_path, name) for name in ("one", "two")]
    with started(attempts[0], nursery) as one, started(attempts[1], nursery, TMPDIR=str(tmp_path)) as two:
        first, second = found(tmp_path, "one"), found(tmp_path, "two")
        for worker, facts, attempt in zip((one, two), (first, second), attempts, strict=True):
            assert how_started(attempt) == "warm"
            assert sorted(facts["files"]) == sorted(
                [
                    "/dev/null",
                    str(attempt.log),
                    str(attempt.log),
                    str(attempt.lock),
                    str(attempt.events),
                    *_to_the_trackers(facts),
                ]
            )
            assert (facts["folder"], facts["session"], facts["tasks"]) == (str(tmp_path / "workspace"), worker.pid, 1)
            assert facts["arguments"] == [str(attempt.path)]
            assert facts["environment"]["PYTORCH_TRAINER_ATTEMPT"] == str(attempt.path)
            assert f"PYTORCH_TRAINER_ATTEMPT={attempt.path}" in facts["shown"].split("\0")
            assert has_ended(worker.pid)
        assert first["environment"].keys() - {"TMPDIR"} == second["environment"].keys() - {"TMPDIR"}
        assert (first["temporary"], second["temporary"]) == (tempfile.gettempdir(), str(tmp_path))
        assert set(first["drawn"]).isdisjoint(second["drawn"])


def _to_the_trackers(facts: dict[str, Any]) -> list[str]:
    """The pipe to their process, and that process."""
    [pipe] = [path for path in facts["files"] if path.startswith("pipe:")]
    return [pipe, "anon_inode:[pidfd]"]


def test_it_is_as_a_program_where_both_are_looked_at(tmp_path: Path, nursery: Nursery):
    with started(attempt_of(tmp_path, "warm"), nursery), started(attempt_of(tmp_path, "cold")):
        warm, cold = found(tmp_path, "warm"), found(tmp_path, "cold")
    for name in ("folder", "threads"):
        assert warm[name] == cold[name], name
    assert warm["environment"].keys() == cold["environment"].keys()
    assert len(warm["files"]) == len(cold["files"]) + 1  # The process of the trackers, held as it was forked.


def test_the_stacks_of_one_that_hangs_are_in_its_log(tmp_path: Path, nursery: Nursery):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    attempt = prepare(tmp_path, f"import signal\nopen({str(gate)!r}).read()\nsignal.pause()\n")
    with started(attempt, nursery) as worker:
        open_gate(gate)
        worker.abort()
        assert worker.clear() is not None
    assert "Fatal Python error: Aborted" in attempt.log.read_text()
    assert "m.py" in attempt.log.read_text()


@contextmanager
def forked(attempt: AttemptFolder, nursery: Nursery, **variables: str) -> Iterator[Forked | None]:
    """What the nursery answers; the worker has not begun."""
    environment = {**shared_environment(), "PYTORCH_TRAINER_ATTEMPT": str(attempt.path), **variables}
    with attempt.lock.open("wb") as lock, attempt.log.open("wb") as log:
        answer = nursery.fork(attempt.path, environment, lock.fileno(), log.fileno())
    yield answer
    if answer is not None:
        answer.release()
        assert answer.process.has_ended(60_000)
        answer.process.release()


def test_one_whose_service_went_before_it_began_never_works(tmp_path: Path, nursery: Nursery):
    attempt = prepare(tmp_path, "raise SystemExit")
    with forked(attempt, nursery) as waits:
        assert waits is not None
    assert not attempt.events.exists()


def test_none_is_forked_where_a_program_would_be_another_one(tmp_path: Path, nursery: Nursery):
    attempt = prepare(tmp_path, "import PIL")
    workspace = tmp_path / "workspace"
    with forked(attempt, nursery, OMP_NUM_THREADS="3") as environment_of_its_own:
        assert environment_of_its_own is None
    # A folder without __init__.py hides no library, a file does.
    (workspace / "PIL").mkdir()
    with forked(attempt, nursery) as same:
        assert same is not None
    (workspace / "PIL.py").write_text("a helper of the user's")
    with forked(attempt, nursery) as hidden:
        assert hidden is None
