"""From the POST to the first optimizer step, and to the result: small trainings in a row through a service whose workers are
forked from a warm process, through one whose workers start as programs, and beside them ``python train.py``, in turn.

``python -m benchmarks.warm_start [WARM OTHERS]`` (100 and 100 when left out) writes the table into docs/performance.md: so
many trainings with warm workers, and of each of the others.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.cli.stream import messages_of
from benchmarks.report import ROOT, machine, put

WARM, COLD, SCRIPT = "pytorch-trainer, warm worker", "pytorch-trainer, `PT_WARM=off`", "`python train.py`"
ROWS, EPOCHS, BATCH = 500, 2, 32
MODEL = """
from torch import nn


def build_model():
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
"""
# The same work by hand: no events, no monitors, one file at the end.
TRAIN = f"""
import time

import numpy as np
import torch
from torch.nn import functional

from mlp import build_model

torch.manual_seed(0)
x, y = (torch.from_numpy(array) for array in np.load("table.npz").values())
model, order = build_model(), torch.randperm({ROWS})
train, held_out = order[: {ROWS * 4 // 5}], order[{ROWS * 4 // 5} :]
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
first = True
for _ in range({EPOCHS}):
    for rows in train[torch.randperm(len(train))].split({BATCH}):
        optimizer.zero_grad()
        functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        if first:
            print(time.time(), flush=True)
            first = False
    with torch.no_grad():
        accuracy = (model(x[held_out]).argmax(1) == y[held_out]).float().mean().item()
torch.save(model.state_dict(), "model.pt")
"""


@dataclass(frozen=True)
class Service:
    """A service of its own: a client of it, its process, and the one that its workers are forked from."""

    client: httpx.Client
    pid: int
    nursery: int | None


@contextmanager
def serving(folder: Path, warm: bool) -> Iterator[Service]:
    """A service on the workspace ``folder``; a warm one once it is ready."""
    own = {"PT_HOME": str(folder / f"home-{warm}"), "PT_WORKSPACE": str(folder), "PT_PORT": "0"}
    environment = {**os.environ, **own, "PT_DEVICES": "cpu", "PT_WARM": "on" if warm else "off"}
    command = [sys.executable, "-m", "app.cli", "serve", "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=ROOT, **pipes) as service:
        assert service.stdout is not None
        assert service.stderr is not None
        facts = json.loads(service.stdout.readline())
        headers = {"Authorization": f"Bearer {Path(facts['tokenPath']).read_text().strip()}"}
        nursery = None
        while warm and nursery is None:
            said = re.search(r"Workers are forked from process (\d+)", service.stderr.readline())
            nursery = None if said is None else int(said.group(1))
        # What it logs is read, lest it should wait for a reader.
        threading.Thread(target=service.stderr.read, daemon=True).start()
        try:
            with httpx.Client(base_url=facts["url"], headers=headers, timeout=120) as client:
                yield Service(client, service.pid, nursery)
        finally:
            service.terminate()


def request(epochs: int = EPOCHS) -> dict[str, Any]:
    """A small training."""
    return {
        "modelPath": "mlp.py",
        "dataConfig": {"trainPath": "table.npz", "batchSize": BATCH},
        "trainingConfig": {"epochs": epochs, "learningRate": 1e-3, "reportEverySeconds": 0},
        "trackingConfig": {"mlflow": False},
    }


def by_service(service: Service) -> tuple[float, float]:
    """Seconds from the POST to the first optimizer step, by the worker's clock, and to the result, by the client's."""
    began = time.time()
    job_id = service.client.post("/v1/jobs", json=request()).json()["jobId"]
    step = None
    for event in follow(service.client, job_id):
        if event["type"] == "step" and step is None:
            step = datetime.fromisoformat(event["time"]).timestamp()
    assert step is not None
    assert event["data"]["state"] == "succeeded"
    return step - began, time.time() - began


def follow(client: httpx.Client, job_id: str) -> Iterator[dict[str, Any]]:
    """The events of a job, to the last."""
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}) as response:
        for message in messages_of(response.iter_bytes()):
            event: dict[str, Any] = json.loads(message.data)
            yield event
            if event["type"] == "job.completed":
                return


def by_script(folder: Path) -> tuple[float, float]:
    """Seconds from the start of ``python train.py`` to its first optimizer step, and to its end."""
    began = time.time()
    done = subprocess.run([sys.executable, "train.py"], cwd=folder, capture_output=True, text=True, check=True)
    return float(done.stdout) - began, time.time() - began


def memory(service: Service) -> dict[str, tuple[int, int]]:
    """(RSS, PSS) in MiB of service, idle nursery, and a worker that trains, with its warden and its tracker."""
    idle = {"service": [service.pid]} | ({"nursery, idle" if service.nursery else "": [service.nursery or 0]})
    found = {name: held(pids) for name, pids in idle.items() if name}
    job_id = service.client.post("/v1/jobs", json=request(epochs=10_000)).json()["jobId"]
    for event in follow(service.client, job_id):
        if event["type"] == "job.started":
            worker = event["data"]["pid"]
        elif event["type"] == "epoch.completed":
            kind = "warm" if service.nursery else "cold"
            found[f"{kind} worker"] = held([worker])
            found[f"{kind} worker, its warden and its tracker"] = held([worker, parent(worker), *children(worker)])
            break
    service.client.post(f"/v1/jobs/{job_id}/cancel")
    for _ in follow(service.client, job_id):
        pass
    return found


def held(pids: list[int]) -> tuple[int, int]:
    """Memory in MiB of processes together: resident, and with each shared page divided among those that share it."""
    resident = shared = 0
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        resident += int(re.search(r"^Rss:\s+(\d+)", rollup, re.MULTILINE).group(1))  # type: ignore[union-attr]
        shared += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE).group(1))  # type: ignore[union-attr]
    return resident >> 10, shared >> 10


def parent(pid: int) -> int:
    """The process that started this one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def write(folder: Path) -> None:
    """Model file, data and script."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, 20)).astype(np.float32)
    np.savez(folder / "table.npz", x=x, y=(x[:, 0] + np.sin(3 * x[:, 1]) > 0).astype(np.int64))
    (folder / "mlp.py").write_text(MODEL)
    (folder / "train.py").write_text(TRAIN)


def measure(warm: int, others: int) -> tuple[dict[str, list[tuple[float, float]]], dict[str, tuple[int, int]]]:
    """(Seconds to the first step, seconds to the result) of each way; memory. Of each the first is not counted."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write(folder)
        cold_service, warm_service = (stack.enter_context(serving(folder, warm)) for warm in (False, True))
        ways: dict[str, tuple[int, Callable[[], tuple[float, float]]]] = {
            WARM: (warm, lambda: by_service(warm_service)),
            COLD: (others, lambda: by_service(cold_service)),
            SCRIPT: (others, lambda: by_script(folder)),
        }
        for _, way in ways.values():
            way()
        took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(most := max(warm, others)):
            for name, (times, way) in ways.items():
                if turn * times // most < (turn + 1) * times // most:
                    took[name].append(way())
        return took, memory(cold_service) | memory(warm_service)


def table(took: dict[str, list[tuple[float, float]]], memory: dict[str, tuple[int, int]]) -> str:
    """The report, with machine and versions."""
    counts = ", ".join(f"{len(rounds)} × {name}" for name, rounds in took.items())
    lines = [
        f"{counts}. {machine(len(took[WARM]))}",
        "",
        "| | first step: p50, ms | p95 | result: p50, ms | p95 |",
        "|---|---|---|---|---|",
    ]
    for name, rounds in took.items():
        figures = (percentile(one, share) for one in zip(*rounds, strict=True) for share in (0.5, 0.95))
        lines.append(f"| {name} | " + " | ".join(f"{1000 * figure:,.0f}" for figure in figures) + " |")
    lines += ["", "| memory, MiB | RSS | PSS |", "|---|---|---|"]
    lines += [f"| {name} | {resident} | {shared} |" for name, (resident, shared) in memory.items()]
    return "\n".join(lines)


def percentile(values: tuple[float, ...], share: float) -> float:
    """The least of ``values`` that at least ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(100 * share) * len(ordered) // 100) - 1)]


def main() -> None:
    """Measure, print the table and put it into docs/performance.md."""
    warm, others = map(int, sys.argv[1:3]) if len(sys.argv) > 2 else (100, 100)
    report = table(*measure(warm, others))
    print(report)
    put(report, "benchmarks/warm_start.py")


if __name__ == "__main__":
    main()
