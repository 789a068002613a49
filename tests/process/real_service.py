"""A real service in a process of its own, with real trainings to watch: what the tests of whole processes share."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.cli.stream import messages_of
from app.supervision.processes import kill_marked

ROOT = Path(__file__).parents[2]
EPOCHS = 6
MODEL = """
import torch
from torch import nn


class Slow(nn.Module):
    \"\"\"A linear layer that takes its time.\"\"\"

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 2)

    def forward(self, x):
        work = torch.ones(300, 300)
        for _ in range(12):
            work = (work @ work).clamp(max=1)
        return self.layer(x) * work[0, 0]
"""


def write_workspace(folder: Path) -> dict[str, Any]:
    """A model file and a table in ``folder``, and the request that trains on them."""
    folder.mkdir()
    (folder / "slow.py").write_text(MODEL)
    return write_table(folder)


def write_table(folder: Path) -> dict[str, Any]:
    """The table alone."""
    rows = [",".join([*(f"{(row * (column + 3)) % 17}" for column in range(8)), "ab"[row % 2]]) for row in range(400)]
    (folder / "table.csv").write_text("\n".join([",".join("pqrstuvwy"), *rows]) + "\n")
    return {
        "modelPath": "slow.py",
        "dataConfig": {"trainPath": "table.csv", "batchSize": 16},
        "trainingConfig": {"epochs": EPOCHS, "reportEverySeconds": 0},
        "trackingConfig": {"mlflow": False},
        "resources": {"threads": 1},
    }


@contextmanager
def serving(home: Path, workspace: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A real service in a process of its own, and a client of it; what is left at the end is killed. Workers start as
    programs, unless ``settings`` say otherwise; what a warm service logs is a pipe, for ``next_nursery``."""
    own = {"PT_HOME": str(home), "PT_WORKSPACE": str(workspace), "PT_PORT": "0", "PT_WARM": "off", **settings}
    log = subprocess.PIPE if own["PT_WARM"] == "on" else None
    command = [sys.executable, "-m", "app.cli", "serve", "--json"]
    every: dict[str, Any] = {"env": {**os.environ, **own}, "cwd": ROOT, "text": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, **every) as process:
        assert process.stdout is not None
        try:
            # Its one line, said once it answers.
            facts = json.loads(process.stdout.readline())
            headers = {"Authorization": f"Bearer {Path(facts['tokenPath']).read_text().strip()}"}
            with httpx.Client(base_url=facts["url"], headers=headers, timeout=60) as client:
                yield process, client
        finally:
            process.kill()


def next_nursery(service: subprocess.Popen[str]) -> int:
    """The process that workers are forked from, as soon as the service says that it is ready (again)."""
    assert service.stderr is not None
    for line in service.stderr:
        if (said := re.search(r"Workers are forked from process (\d+)", line)) is not None:
            return int(said.group(1))
    raise AssertionError("the service ended before it had a nursery")


@contextmanager
def ending_trainings(home: Path) -> Iterator[None]:
    """At the end no worker of a service on ``home`` is left, whatever became of the service."""
    try:
        yield
    finally:
        for attempt in (home / "jobs").glob("*/attempts/*"):
            kill_marked(f"PYTORCH_TRAINER_ATTEMPT={attempt}")


def follow_until(client: httpx.Client, job_id: str, last: str, after: int = -1) -> list[dict[str, Any]]:
    """Events after ``after`` as they come, up to the first of type ``last``."""
    events = []
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
        for message in messages_of(response.iter_bytes()):
            events.append(json.loads(message.data))
            if events[-1]["type"] == last:
                return events
    raise AssertionError(f"the stream ended without {last}")
