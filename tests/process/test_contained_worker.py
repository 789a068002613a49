"""A worker in its container: stopped, looked into and ended as any other, and refused where there is no container."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.isolation import why_not
from app.supervision.attempt_folder import AttemptFolder
from app.supervision.processes import Process, descendants
from app.supervision.worker_process import WorkerProcess
from tests.process.real_worker import has_ended, prepare, start

NEEDS_BUBBLEWRAP = pytest.mark.skipif(why_not("contained") is not None, reason=f"{why_not('contained')}")
# It hides a process in a session of its own, says that it is there, and waits.
PROGRAM = """
import os, signal

signal.signal(signal.SIGTERM, lambda *_: os._exit(9))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pause()
    os._exit(0)
os.wait()
open(READY, 'w').write('ready')
while True:
    signal.pause()
"""


@contextmanager
def waiting(folder: Path) -> Iterator[tuple[WorkerProcess, AttemptFolder, list[Process]]]:
    """A contained worker that waits, and all of its processes."""
    ready = folder / "home/jobs/job_1/run/ready"
    attempt = prepare(folder, f"READY = {str(ready)!r}\n{PROGRAM}", isolation="contained")
    ready.parent.mkdir()
    os.mkfifo(ready)
    started = start(attempt)
    try:
        # Without waiting for a writer: a worker that ends before would leave us here.
        with open(os.open(ready, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as line:
            while not line.read(8):
                assert not has_ended(started.pid, 20), attempt.log.read_text()
        yield started, attempt, [found for pid in descendants(started.pid) if (found := Process.find(pid))]
    finally:
        started.kill()
        started.release()


def check_gone(processes: list[Process]) -> None:
    assert len(processes) >= 4
    for process in processes:
        assert process.has_ended(60_000)
        process.release()


@NEEDS_BUBBLEWRAP
def test_a_contained_worker_is_asked_to_stop_and_hides_nothing(tmp_path: Path):
    with waiting(tmp_path) as (started, attempt, processes):
        started.ask_to_stop()
        assert has_ended(started.pid)
        assert started.clear() == 9
        check_gone(processes)
        assert not (attempt.path / "tmp").exists()


@NEEDS_BUBBLEWRAP
def test_a_contained_worker_shows_its_stacks_and_is_ended(tmp_path: Path):
    with waiting(tmp_path) as (started, attempt, processes):
        started.abort()
        started.clear()
        check_gone(processes)
        # Two processes write at once.
        assert "Current thread" in attempt.log.read_text()


def test_a_worker_that_is_to_be_contained_and_is_not_runs_nothing(tmp_path: Path):
    attempt = prepare(tmp_path, "raise SystemExit('it ran')", isolation="contained")
    command = [sys.executable, "-m", "trainer_core.worker", str(attempt.path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    outcome = attempt.outcome()
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code == "isolation_unavailable"
    assert "it ran" not in done.stderr + done.stdout
