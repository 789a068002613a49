"""Real services in processes of their own, forked from one that has everything loaded: cheap enough to be killed by the dozen."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.supervision.processes import Process, kill_marked
from tests.app.scene import STAND_IN

_SCRIPT = Path(__file__).with_name("service_nursery_process.py")


@dataclass(frozen=True)
class Served:
    """A service that runs, and a client of it."""

    process: Process
    url: str
    token: str

    def client(self, timeout: float = 60) -> httpx.Client:
        """A client that has the token."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=False)

    def end(self, number: signal.Signals) -> None:
        """Send it a signal that ends it, and wait for that."""
        self.process.send(number)
        assert self.process.has_ended(30_000)


class ServiceNursery:
    """Services on one home and workspace. Used with ``services()``."""

    def __init__(self, process: subprocess.Popen[str], home: Path, workspace: Path) -> None:
        self._process = process
        self.home = home
        self.workspace = workspace

    @contextmanager
    def serving(self, command: Sequence[str] = STAND_IN, **settings: Any) -> Iterator[Served]:
        """A service; killed with the block when it still runs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"home": str(self.home), "workspace": str(self.workspace), "command": list(command), **settings}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        pid, url = json.loads(self._process.stdout.readline())
        process = Process.find(pid)
        assert process is not None, "the service did not start"
        try:
            yield Served(process, url, (self.home / "token").read_text().strip())
        finally:
            process.send(signal.SIGKILL)
            assert process.has_ended(30_000)
            process.release()


@contextmanager
def services(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[ServiceNursery]:
    """Services on a home and a workspace below ``folder``, with something more in their ``environment``; at the end no worker
    is left."""
    home, workspace = folder / "home", folder / "workspace"
    workspace.mkdir(exist_ok=True)
    every = {**os.environ, "PYTHONPATH": str(_SCRIPT.parents[2]), **(environment or {})}
    command = [sys.executable, str(_SCRIPT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=every) as process:
        try:
            yield ServiceNursery(process, home, workspace)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            for attempt in (home / "jobs").glob("*/attempts/*"):
                kill_marked(f"PYTORCH_TRAINER_ATTEMPT={attempt}")
