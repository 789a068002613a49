"""What being watched costs a training: MLflow and a client that follows every event, on against off.

A real service, the small table of ``benchmarks.small_table`` for eight epochs, a report twenty times a second. Watched runs
are written to MLflow's SQLite store and followed over SSE from the first event to the last; the others are neither.
``python -m benchmarks.streaming`` writes the table into docs/performance.md.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx

from benchmarks.report import ROOT, machine, put
from benchmarks.small_table import BATCH, ROWS, write

ROUNDS, EPOCHS = 21, 8
INVOKE = "/v1/skills/pytorch-trainer/invoke"


@contextmanager
def serving(folder: Path) -> Iterator[httpx.Client]:
    """A client of a service of its own."""
    environment = {
        **os.environ,
        "PT_HOME": str(folder / "home"),
        "PT_WORKSPACE": str(folder),
        "PT_PORT": "0",
        "PT_WARM": "off",
    }
    command = [sys.executable, "-m", "app.cli", "serve", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=ROOT, text=True) as service:
        assert service.stdout is not None
        facts = json.loads(service.stdout.readline())
        headers = {"Authorization": f"Bearer {Path(facts['tokenPath']).read_text().strip()}"}
        try:
            with httpx.Client(base_url=facts["url"], headers=headers, timeout=120) as client:
                yield client
        finally:
            service.terminate()


def request(watched: bool) -> dict[str, Any]:
    """A training of the small table."""
    return {
        "modelPath": "mlp.py",
        "dataConfig": {"trainPath": "train.npz", "valPath": "val.npz", "batchSize": BATCH, "evalBatchSize": 1024},
        "trainingConfig": {
            "epochs": EPOCHS,
            "learningRate": 1e-3,
            "scheduler": "none",
            "reportEverySeconds": 0.05,
        },
        "trackingConfig": {"mlflow": watched},
        "resources": {"threads": 1},
    }


def follow(client: httpx.Client, job_id: str, seen: list[int]) -> None:
    """Read every event of the job to its end."""
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}) as response:
        for line in response.iter_lines():
            seen[0] += line.startswith("id:")


def train(client: httpx.Client, watched: bool) -> tuple[float, int]:
    """(samples per second over the whole loop, events that a client read)."""
    job = client.post("/v1/jobs", json=request(watched)).raise_for_status().json()
    seen = [0]
    follower = threading.Thread(target=follow, args=(client, job["jobId"], seen))
    if watched:
        follower.start()
    while (result := client.get(f"/v1/jobs/{job['jobId']}/result")).status_code != 200:
        client.get(f"/v1/jobs/{job['jobId']}", params={"wait": 60})
    if watched:
        follower.join()
    return EPOCHS * ROWS / result.json()["metrics"]["trainingTime"], seen[0]


def main() -> None:
    """Train in turn, watched and not, and write the table."""
    found: dict[bool, list[tuple[float, int]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as client:
        write(Path(name))
        train(client, True)  # what is read for the first time is not measured
        for number in range(ROUNDS):
            for watched in (True, False) if number % 2 else (False, True):
                found[watched].append(train(client, watched))
                print(f"round {number + 1}: {'watched' if watched else 'alone'} {found[watched][-1]}", file=sys.stderr)
    alone, watched_speeds = ([speed for speed, _ in found[watched]] for watched in (False, True))
    changes = [one / other - 1 for one, other in zip(watched_speeds, alone, strict=True)]
    low, middle, high = quantiles(changes)
    lines = [
        machine(ROUNDS),
        "",
        "| a training | samples/s, median (min, max) |",
        "|---|---|",
        *(
            f"| {label} | {median(speeds):,.0f} ({min(speeds):,.0f}, {max(speeds):,.0f}) |"
            for label, speeds in (("alone", alone), ("with MLflow and a client on its events", watched_speeds))
        ),
        "",
        f"Watched against alone, median of the rounds: {middle:+.1%} (half of them between {low:+.1%} and {high:+.1%}); "
        f"{found[True][-1][1]} events were read by the client.",
    ]
    print("\n".join(lines))
    put("\n".join(lines), "benchmarks/streaming.py")


if __name__ == "__main__":
    main()
