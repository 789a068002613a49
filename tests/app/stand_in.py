"""A worker for tests: a real process in an attempt's folder that does what its job's model file says, in milliseconds.

The model file is Python that runs with the functions below at hand.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

# As a worker does, which listens by then. With PATIENT the program does so when it likes.
if "PATIENT" not in os.environ:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

folder = Path(sys.argv[1])
assignment = json.loads((folder / "assignment.json").read_text())
job = Path(assignment["jobFolder"])

# What a program sets so that its events tell of a longer run than a test has time for.
seconds_ago = 0.0


def write(content: bytes) -> None:
    """Append to the event file."""
    with (folder / "events.jsonl").open("ab", buffering=0) as file:
        file.write(content)


def say(kind: str, /, **data: object) -> None:
    """Append an event."""
    time = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    write(json.dumps({"type": kind, "time": time, "data": data}).encode() + b"\n")


def epoch(number: int) -> None:
    """Say a whole epoch."""
    say("epoch.started", epoch=number, epochs=9, steps=1)
    say("epoch.completed", epoch=number, trainLoss=1 / number, isBest=True)


def gate(name: str) -> None:
    """Wait until the test opens this gate."""
    path = job / name
    with suppress(FileExistsError):
        os.mkfifo(path)
    path.read_bytes()


def end(state: str, **rest: object) -> None:
    """Leave an outcome, atomically."""
    temporary = folder / "outcome.tmp"
    temporary.write_text(json.dumps({"state": state, **rest}))
    temporary.rename(folder / "outcome.json")


def hide_a_child() -> None:
    """Start a process in a session of its own, that ignores what it can and lives for ever."""
    program = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(flush=True)\nwhile True: signal.pause()"
    )
    child = subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    child.stdout.readline()
    say("log", level="info", stream="worker", text=f"child {child.pid}")


exec(compile(Path(assignment["modelSnapshot"]).read_text(), "model.py", "exec"))
