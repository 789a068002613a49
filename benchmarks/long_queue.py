"""A long queue: how long a submission, a claim and a restart take with thousands of jobs that wait.

    python benchmarks/long_queue.py [JOBS]

A real service in a process of its own, over HTTP; its one slot is held by a worker that waits. Prints one JSON.
"""

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from app.settings import Settings
from app.store.sqlite import SqliteStore
from app.supervision.processes import kill_marked

ROOT = Path(__file__).parents[1]
CLAIMS = 300
LIMITS = {"submitP99": 50.0, "claimP99": 20.0, "restart": 3000.0}

SERVES = """
import sys
from pathlib import Path
from app.http.server import Server
from app.instance import Instance
from app.main import create_app
from app.settings import Settings
folder = Path(sys.argv[1])
settings = Settings(home=folder / "home", workspace=folder / "workspace", port=0, requests_per_minute=0,
                    max_queued_jobs=1_000_000, warm=False, isolation="none")
worker = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
with Instance(settings.home) as instance:
    Server(create_app(settings, worker), settings, instance, lambda url: print(url, flush=True)).run_here()
"""


@contextlib.contextmanager
def service(folder: Path) -> Iterator[tuple[httpx.Client, float]]:
    """A client of a service on ``folder``, and the milliseconds it took until the service was ready."""
    began = time.perf_counter()
    command = [sys.executable, "-c", SERVES, str(folder)]
    with (folder / "service.log").open("a") as log:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT)
    assert child.stdout is not None
    try:
        url = child.stdout.readline().strip()
        if not url:
            raise SystemExit(f"The service did not start: {(folder / 'service.log').read_text()[-2000:]}")
        token = (folder / "home/token").read_text().strip()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
            client.get("/readyz").raise_for_status()
            yield client, 1000 * (time.perf_counter() - began)
    finally:
        child.terminate()
        child.wait()


def times(calls: Iterator[Callable[[], Any]]) -> list[float]:
    """Milliseconds of each call."""
    took = []
    for call in calls:
        began = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - began))
    return took


def spread(took: list[float]) -> dict[str, float]:
    """Median, 99th percentile and worst, in milliseconds."""
    cut = statistics.quantiles(took, n=100)
    return {"p50": round(cut[49], 2), "p99": round(cut[98], 2), "max": round(max(took), 2)}


def submissions(client: httpx.Client, jobs: int) -> Iterator[Callable[[], Any]]:
    """Submissions of the same small request under keys of their own."""
    body = {
        "modelPath": "model.py",
        "dataConfig": {"trainPath": "train.csv"},
        "trainingConfig": {},
        "engine": "native",
    }
    for number in range(jobs):
        headers = {"Idempotency-Key": f"job-{number}"}
        yield lambda headers=headers: client.post("/v1/jobs", json=body, headers=headers).raise_for_status()


def claims(store: SqliteStore) -> Iterator[Callable[[], Any]]:
    """What the scheduler does for each job: look for the oldest, take it."""
    for _ in range(CLAIMS):
        yield lambda: store.claim(store.queue(1)[0].job_id, ("cpu",))


def measure(jobs: int) -> dict[str, Any]:
    """The figures, in milliseconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "workspace").mkdir()
        (folder / "workspace/model.py").write_text("import torch\n\n\nclass Net(torch.nn.Module):\n    pass\n")
        (folder / "workspace/train.csv").write_text("x,y\n1,0\n2,1\n")
        with service(folder) as (client, empty):
            took = times(submissions(client, jobs))
            pages = times(lambda: client.get("/v1/jobs").raise_for_status() for _ in range(50))
        with service(folder) as (client, restart):
            more = times(submissions(client, min(jobs, 50)))
        settings = Settings(home=folder / "home", workspace=folder / "workspace")
        store = SqliteStore(settings.database)
        claimed = times(claims(store))
        store.close()
        end_worker(settings)
    return {
        "jobs": jobs,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "submit": spread(took),
        "sameKeyAgain": spread(more),
        "list": spread(pages),
        "claim": spread(claimed),
        "startEmpty": round(empty),
        "restart": round(restart),
    }


def end_worker(settings: Settings) -> None:
    """End the worker that has held the slot."""
    for attempt in settings.jobs.glob("*/attempts/*"):
        kill_marked(f"PYTORCH_TRAINER_ATTEMPT={attempt}")


def main() -> int:
    """Print the figures; 1 when one of them is over its limit."""
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    reached = {"submitP99": found["submit"]["p99"], "claimP99": found["claim"]["p99"], "restart": found["restart"]}
    print(json.dumps({**found, "limits": LIMITS}, indent=2))
    return int(any(reached[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
