"""Cancel, stop, pause and resume at random instants: the job ends within seconds, and nothing of it is left."""

import fcntl
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.supervision.processes import marked
from app.supervision.supervisor import WORKER_COMMAND
from tests.app.scene import STAND_IN
from tests.app.service_nursery import Served, ServiceNursery, services
from tests.app.workspace import TORCH_MODEL
from tests.process.real_service import MODEL, write_table
from tests.tiers import rounds

END_SECONDS = 5.0
DANCERS = 6
# SIGTERM is held back until the program listens.
PATIENT = ["env", "PATIENT=1", *STAND_IN]
# Obeys as a worker does: what was asked for stands in a file; a save takes a moment.
OBEYS = """
import time
ENDINGS = {"paused": "paused", "stopped": "early_stopped", "cancelled": "cancelled", "timeout": "failed"}
def obey(*_):
    saved = job / "run" / "epoch-0001.tmp"
    saved.mkdir(parents=True, exist_ok=True)
    time.sleep(0.05)
    saved.rmdir()
    end(ENDINGS[json.loads((folder / "stop.json").read_text())["reason"]])
    os._exit(0)
signal.signal(signal.SIGTERM, obey)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
hide_a_child()
for number in range(1, 10_000):
    epoch(number)
    time.sleep(0.02)
"""


def dance(service: Served, request: dict[str, Any], chance: random.Random, pause: float) -> tuple[str, str, float]:
    """Order a job about, then end it; its number, how it ended, and the seconds from the last order to the end."""
    # Of its own: one that rests in a pool may be closed just when it is used.
    with service.client() as client:
        return dance_with(client, request, chance, pause)


def dance_with(
    client: httpx.Client, request: dict[str, Any], chance: random.Random, pause: float
) -> tuple[str, str, float]:
    """As ``dance``."""
    job_id: str = client.post("/v1/jobs", json=request).json()["jobId"]
    moment = threading.Event()
    for _ in range(chance.randint(0, 4)):
        moment.wait(chance.uniform(0, pause))
        answer = client.post(f"/v1/jobs/{job_id}/{chance.choice(['pause', 'resume'])}")
        assert answer.status_code in (200, 202, 409), answer.text
    moment.wait(chance.uniform(0, pause))
    # One that waits in the queue, or is paused, cannot be stopped.
    for order in [chance.choice(["stop", "cancel"]), "cancel"]:
        if client.post(f"/v1/jobs/{job_id}/{order}").status_code in (200, 202):
            break
    began = time.monotonic()
    view = client.get(f"/v1/jobs/{job_id}", params={"wait": 60, "until": "terminal"}).json()
    took = time.monotonic() - began
    # As it was told; nothing has gone wrong meanwhile.
    assert view["state"] in ("cancelled", "early_stopped"), client.get(f"/v1/jobs/{job_id}/result").json()
    return job_id, view["state"], took


def check_nothing_is_left(folder: Path) -> None:
    """No process, no lock, no folder of a save."""
    for attempt in folder.glob("attempts/*"):
        assert marked(f"PYTORCH_TRAINER_ATTEMPT={attempt}") == []
    if (folder / "lock").exists():
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert [path for pattern in ("**/*.tmp", "**/*.old") for path in folder.glob(pattern)] == []


def order_about(
    nursery: ServiceNursery,
    command: Sequence[str],
    request: dict[str, Any],
    chance: random.Random,
    jobs: int,
    at_once: int,
    pause: float,
) -> tuple[Counter[str], list[float]]:
    """So many jobs, some of them at a time: how they ended, and the seconds that it took."""
    seeds = [chance.getrandbits(32) for _ in range(jobs)]
    # Real ones are forked from a process that has torch loaded, as they are by default.
    settings = {"slots": at_once, "retry_rest_seconds": 0.0, "warm": command == WORKER_COMMAND}
    with nursery.serving(command, **settings) as service:
        with ThreadPoolExecutor(at_once) as dancers:
            ended = list(
                dancers.map(lambda number: dance(service, request, random.Random(number), pause), seeds, timeout=None)
            )
        for job_id, _, _ in ended:
            check_nothing_is_left(nursery.home / "jobs" / job_id)
    return Counter(state for _, state, _ in ended), sorted(took for _, _, took in ended)


def report(record: Callable[[str, object], None], states: Counter[str], took: list[float]) -> None:
    """The figures; the promise."""
    record("jobs", len(took))
    record("ended", dict(states))
    record("longest", f"{took[-1]:.1f} s")
    record("left behind", 0)
    assert took[-1] <= END_SECONDS


@pytest.mark.torture
@pytest.mark.alone
def test_an_order_is_obeyed_at_any_time(
    tmp_path: Path, chance: random.Random, record_property: Callable[[str, object], None]
):
    with services(tmp_path) as nursery:
        (nursery.workspace / "model.py").write_text(OBEYS + TORCH_MODEL)
        (nursery.workspace / "data").mkdir()
        request = {"modelPath": "model.py", "engine": "native", "dataConfig": {"trainPath": "data"}}
        request["trainingConfig"] = {}
        states, took = order_about(nursery, PATIENT, request, chance, rounds(18, 240), DANCERS, 0.2)
    report(record_property, states, took)


@pytest.mark.torture
@pytest.mark.alone
@pytest.mark.timeout(180)
def test_a_real_training_obeys_at_any_time(
    tmp_path: Path, chance: random.Random, record_property: Callable[[str, object], None]
):
    with services(tmp_path) as nursery:
        (nursery.workspace / "slow.py").write_text(MODEL)
        request = write_table(nursery.workspace)
        request["checkpointConfig"] = {"saveEverySteps": 1}
        request["trainingConfig"]["epochs"] = 1000
        states, took = order_about(nursery, WORKER_COMMAND, request, chance, rounds(2, 60), 2, float(rounds(1, 3)))
    report(record_property, states, took)
