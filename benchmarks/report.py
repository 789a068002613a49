"""What the benchmarks share: the engine called as a worker calls it, the machine's name, and a table put into a document."""

import os
import platform
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
PERFORMANCE = ROOT / "docs" / "performance.md"


def machine(rounds: int, *versions: str) -> str:
    """The line above a table: rounds, day, processor, versions."""
    software = ", ".join([f"Python {platform.python_version()}", f"torch {torch.__version__}", *versions])
    return f"{rounds} rounds, {date.today().isoformat()}; {processor()}, {os.cpu_count()} cores; {software}."


def processor() -> str:
    """The CPU's name (Linux: /proc/cpuinfo), or its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def put(report: str, writer: str, document: Path = PERFORMANCE) -> None:
    """Write ``report`` between the marks of ``writer`` in ``document``."""
    begin, end = f"<!-- {writer} writes from here -->", f"<!-- {writer}: to here -->"
    before, rest = document.read_text().split(begin)
    _, after = rest.split(end)
    document.write_text(f"{before}{begin}\n{report}\n{end}{after}")


def train_with_us(folder: Path, request: Mapping[str, Any], device: str = "cpu") -> tuple[float, float]:
    """(seconds of the loop, validation accuracy) of the native engine on ``request``, its paths absolute, as a worker calls it:
    with events, monitors, checkpoints, recovery."""
    from schemas.assignment import Assignment
    from schemas.events import EpochCompleted, RunFinalizing
    from trainer_core.channel import FileChannel
    from trainer_core.engines.native import train
    from trainer_core.stop import Stop

    said: list[Any] = []

    class Listening(FileChannel):
        def emit(self, data: Any) -> None:
            said.append(data)
            super().emit(data)

    place = tempfile.mkdtemp(dir=folder)
    document = {
        "jobId": "job_benchmark",
        "attempt": 1,
        "engine": "native",
        "devices": [device],
        "request": request,
        "modelSha256": "",
        "workspace": str(folder),
        "modelSnapshot": request["modelPath"],
        "jobFolder": place,
        "attemptFolder": place,
        "runFolder": f"{place}/run",
    }
    train(Assignment.model_validate(document), Listening(Path(place) / "events.jsonl"), Stop())
    (end,) = [data for data in said if isinstance(data, RunFinalizing)]
    row = [data for data in said if isinstance(data, EpochCompleted)][-1]
    return end.seconds, row.val_accuracy or 0.0
