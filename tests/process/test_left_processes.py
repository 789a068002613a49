"""What a worker leaves behind ends with it, wherever it has hidden: real workers, started as the service starts them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app.supervision.nursery import NoNursery
from app.supervision.processes import Process, descendants
from app.supervision.worker_process import WorkerProcess
from tests.process.real_worker import has_ended, prepare, start, started

# A double fork into a session of its own, with an empty environment, that ignores what it can: no mark, no group and no
# parent is left by which it could be found.
MODEL = """
import os, signal, sys

def hide():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve(sys.executable, [sys.executable, "-S", "-E", "-c", PROGRAM], {})
        os._exit(0)
    os.wait()

PROGRAM = '''
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("PIDS", "a") as file:
    print(os.getpid(), file=file)
with open("READY", "w") as file:
    file.write("ready")
while True:
    signal.pause()
'''

hide()
open("READY").read()
END
"""


def is_whole(pids: Path) -> bool:
    """Whether the number of the hidden process is written."""
    return pids.exists() and pids.read_text().endswith("\n")


@contextmanager
def worker(folder: Path, end: str, nursery: NoNursery) -> Iterator[tuple[WorkerProcess, int]]:
    """A worker whose model file has hidden a process when this yields; with the number of that process."""
    pids, ready = folder / "pids", folder / "ready"
    os.mkfifo(ready)
    program = MODEL.replace("PIDS", str(pids)).replace("READY", str(ready)).replace("END", end)
    attempt = prepare(folder, program)
    begun = start(attempt, nursery)
    try:
        while not is_whole(pids):
            # A worker that ends at once may have ended by now, and written before.
            assert not has_ended(begun.pid, 20) or is_whole(pids), attempt.log.read_text()
        yield begun, int(pids.read_text())
    finally:
        begun.kill()
        begun.release()
        for pid in map(int, pids.read_text().split()):
            if (left := Process.find(pid)) is not None:
                left.send(signal.SIGKILL)


def stands_still(pid: int) -> bool:
    """Whether it was stopped; one that has ended meanwhile was not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


STOPS_WHEN_ASKED = (
    "signal.signal(signal.SIGTERM, lambda *_: os._exit(9))\nsignal.raise_signal(signal.SIGSTOP)\nsignal.pause()"
)


@pytest.mark.parametrize(
    ("end", "returncode"),
    [("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL), ("os.abort()", -signal.SIGABRT), (STOPS_WHEN_ASKED, 9)],
    ids=["killed", "aborted", "asked to stop"],
)
def test_a_hidden_process_ends_with_its_worker_however_that_ends(
    tmp_path: Path, either: NoNursery, end: str, returncode: int
):
    with worker(tmp_path, end, either) as (begun, hidden):
        if end == STOPS_WHEN_ASKED:
            # It stands still until its handler is there; the warden passes the signal on, which is waited for.
            while not (standing := [pid for pid in descendants(begun.pid) if stands_still(pid)]):
                assert not has_ended(begun.pid, 20)
            begun.ask_to_stop()
            os.kill(standing[0], signal.SIGCONT)
        assert has_ended(begun.pid)
        assert has_ended(hidden, 0)
        assert begun.clear() == returncode


def test_a_hidden_process_ends_when_the_worker_is_killed(tmp_path: Path, either: NoNursery):
    with worker(tmp_path, "signal.pause()", either) as (begun, hidden):
        begun.kill()
        assert has_ended(hidden)
        assert begun.clear() is not None


# A guarded worker has temporary files; it stands still once they are there.
KEEPS_FILES = """
import signal, tempfile
left = tempfile.NamedTemporaryFile()
open("READY", "w").write(left.name)
signal.pause()
"""


def test_the_temporary_files_of_a_worker_go_though_its_warden_was_killed(tmp_path: Path, either: NoNursery):
    ready = tmp_path / "home/jobs/job_1/run/ready"
    attempt = prepare(tmp_path, KEEPS_FILES.replace("READY", str(ready)), isolation="guarded")
    ready.parent.mkdir()
    os.mkfifo(ready)
    with started(attempt, either) as worker:
        left = Path(ready.read_text())
        assert left.resolve().is_relative_to(attempt.path / "tmp")
        os.kill(worker.pid, signal.SIGKILL)
        assert has_ended(worker.pid)
        assert worker.clear() == -signal.SIGKILL
    assert not (attempt.path / "tmp").exists()
    # The way to it, where that is another one.
    assert not left.parent.is_symlink()


def test_the_warden_is_small_and_loads_no_library_of_the_worker():
    program = "import sys, json, trainer_core.warden; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"pydantic", "numpy", "torch", "schemas", "subprocess"}.isdisjoint(json.loads(done.stdout))
