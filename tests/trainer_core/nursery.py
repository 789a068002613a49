"""A process that forks runs: torch is loaded once, and a run may be killed, or have its disk fail, at a chosen moment."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.assignment import Assignment

_SCRIPT = Path(__file__).with_name("nursery_process.py")


class Nursery:
    """Runs to be killed. Used with ``nursery()``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def train(self, assignment: Assignment, *, fork: bool = True, **how: Any) -> int:
        """Run an assignment as ``how`` says (``nursery_process.py``); its exit code, or minus the signal that ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"assignment": assignment.to_json(), "fork": fork, **how}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@contextmanager
def nursery(environment: Mapping[str, str] | None = None) -> Iterator[Nursery]:
    """A nursery; it ends with the block."""
    every = {**os.environ, "PYTHONPATH": str(_SCRIPT.parents[2]), **(environment or {})}
    command = [sys.executable, str(_SCRIPT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=every) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()
