"""What the tests of the command line share: a service with quick workers, and commands as real processes."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app.http.server import Server
from app.instance import Instance
from app.main import create_app
from app.settings import Settings
from app.supervision.processes import kill_marked
from tests.app.scene import STAND_IN, open_gate

COMMAND = [sys.executable, "-P", "-c", "import sys; from app.cli import main; sys.exit(main())"]
SECONDS = 60

# Programs of stand-in workers.
SUCCEEDS = "epoch(1)\nsay('run.finalizing', epochsTrained=1, seconds=1.0)\nend('succeeded')\n"
WAITS = "epoch(1)\ngate('go')\nepoch(2)\nend('succeeded')\n"
CAN_BE_CANCELLED = """
def stop(*_):
    say("checkpoint.saved", path="/runs/kept", kind="cancel", epoch=1, step=1, bytes=1, sha256="0")
    error = {"code": "cancelled", "message": "Cancelled.", "retryable": False, "recovery": "use_other_operation"}
    end("cancelled", error={**error, "nextMove": "Resume."})
    os._exit(0)

signal.signal(signal.SIGTERM, stop)
epoch(1)
gate("never")
"""
NEVER_STOPS = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nepoch(1)\ngate('go')\nend('succeeded')\n"
FAILS = """
print("the last words", flush=True)
error = {"code": "data_invalid", "message": "Row 3 holds NaN.", "retryable": False, "recovery": "modify_and_retry"}
end("failed", error={**error, "nextMove": "Mend row 3.", "place": {"path": "/data/table.csv", "row": 3}})
"""


class RunningService:
    """A service on ``home``, in a thread, with real HTTP and real worker processes; the workers are stand-ins."""

    def __init__(self, home: Path, workspace: Path) -> None:
        self.settings = Settings(home=home, workspace=workspace, port=0, slots=16)

    def __enter__(self) -> Self:
        announced = threading.Event()
        self._instance = Instance(self.settings.home)
        self._instance.__enter__()
        app = create_app(self.settings, STAND_IN)
        self._server = Server(app, self.settings, self._instance, lambda _url: announced.set())
        self._thread = threading.Thread(target=self._server.run_here)
        self._thread.start()
        assert announced.wait(SECONDS)
        self.url = self._server.url
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._instance.__exit__(kind, error, trace)
        if kind is not None:
            self.clear()

    def clear(self) -> None:
        """Kill the workers that are left."""
        for attempt in self.settings.jobs.glob("*/attempts/*"):
            kill_marked(f"PYTORCH_TRAINER_ATTEMPT={attempt}")

    def open_gate(self, job_id: str, name: str = "go") -> None:
        """Let the worker of a job pass."""
        open_gate(self.settings.jobs / job_id / name)


def write_request(folder: Path, program: str, **changes: Any) -> Path:
    """A request in ``folder`` whose worker runs ``program``."""
    (folder / "program.py").write_text(program)
    (folder / "table.csv").write_text("x,y\n1,0\n2,1\n")
    document = {
        "modelPath": "program.py",
        "dataConfig": {"trainPath": "table.csv"},
        "trainingConfig": {},
        "engine": "sklearn",
        **changes,
    }
    path = folder / "request.json"
    path.write_text(json.dumps({name: value for name, value in document.items() if value is not None}))
    return path


def environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment in which commands find ``home`` and nothing else of this machine's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PT_")}
    return {**kept, "PT_HOME": str(home), "PT_MLFLOW_URI": "off", "PT_WARM": "off", **variables}


def command(home: Path, *arguments: str, text: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(home, **variables),
        capture_output=True,
        text=True,
        input=text,
        timeout=SECONDS,
        check=False,
    )


class Started:
    """A command that runs: its lines on stderr can be waited for, and signals sent to it."""

    def __init__(self, home: Path, *arguments: str, cwd: Path | None = None, **variables: str) -> None:
        # As in a terminal: who runs the tests may run them where an interrupt is ignored, as in the background of a script.
        self.process = subprocess.Popen(
            ["env", "--default-signal=INT", *COMMAND, *arguments],
            env=environment(home, **variables),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def until(self, start: str) -> str:
        """The line on stderr that begins with ``start``, as soon as it is there."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith(start):
                return line
        raise AssertionError(f"no line began with {start!r}: {self.said}")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send a signal, as a terminal or a shell does."""
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout, and the rest of stderr."""
        out, rest = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, "".join(self.said) + rest
