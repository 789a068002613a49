"""Jobs that take more than they may, by accident: each ends with its code and leaves nothing, and the service answers all
the while. The programs stop by themselves before they could hurt a machine whose guard is broken. And trainings, real ones, of
which a rank hangs or a loader dies."""

import fcntl
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.supervision.processes import marked
from app.supervision.supervisor import WORKER_COMMAND
from tests.app.listening import Listening, listening
from tests.app.scene import WARDED
from tests.process.real_service import write_table
from tests.tiers import rounds

ROUNDS = rounds(1, 8)
TRAININGS = rounds(1, 6)
MEBIBYTE = 1 << 20
# The longest that any answer may take while a job misbehaves.
LONGEST_SECONDS = 0.5

MEMORY = "held = []\nwhile len(held) < 60: held.append(b'x' * (10 << 20))\nsignal.pause()"
# Each of them in a session of its own, where that may be: 32 in all.
FORKS = """
for _ in range(5):
    if os.fork() == 0: os.setsid()
signal.pause()
"""
THREADS = """
import threading
for _ in range(200): threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pause()
"""
DISK = """
run = Path(assignment['runFolder']); run.mkdir(exist_ok=True)
for number in range(64): (run / str(number)).write_bytes(b'x' * (1 << 20))
signal.pause()
"""
LOG = "print('x' * (20 << 20), flush=True)\nfor _ in range(40): say('log', level='info', stream='stdout', text='x' * (1 << 18))\nsignal.pause()"
RANK = "epoch(1)\nif os.fork() == 0: signal.pause()\nos.wait()"
GREEDY: dict[str, tuple[str, dict[str, Any], str]] = {
    "a memory bomb": (MEMORY, {"resources": {"memoryMiB": 128}}, "out_of_memory"),
    "a fork bomb": (FORKS, {"resources": {"processes": 8}}, "quota_exceeded"),
    "a bomb of threads": (THREADS, {"resources": {"processes": 4}}, "quota_exceeded"),
    "a disk hog": (DISK, {"resources": {"diskMiB": 8}}, "quota_exceeded"),
    "a log bomb": (LOG, {}, "quota_exceeded"),
    "a hung rank": (RANK, {"limits": {"maxSilentSeconds": 1}}, "hung"),
}

RANK_HANGS = """
import os, threading
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.passes = nn.Linear(8, 2), 0

    def forward(self, x):
        self.passes += 1
        if os.environ.get("RANK") == "{rank}" and self.passes > {number}:
            threading.Event().wait()
        return self.layer(x)
"""
LOADER_DIES = """
import os, signal
import torch
from torch import nn

class Data:
    def __len__(self):
        return 400

    def __getitem__(self, index):
        if index == {number} and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.randn(8), index % 2

def build_dataset(path, split):
    return Data() if split == "train" else None

def build_model():
    return nn.Linear(8, 2)
"""
# With what the log says of where it was.
TRAINED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "a rank that hangs": (
        RANK_HANGS,
        {"trainingConfig": {"devices": 2, "epochs": 50}, "limits": {"maxSilentSeconds": rounds(4, 10)}},
        "hung",
        "in forward",
    ),
    "a loader that dies": (
        LOADER_DIES,
        {"trainingConfig": {"epochs": 50}, "dataConfig": {"trainPath": "table.csv", "numWorkers": 2}},
        "worker_lost",
        "",
    ),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("greedy"), WARDED, max_event_bytes=4 * MEBIBYTE) as running:
        yield running


@pytest.fixture(scope="module")
def training_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """Its workers are real, and forked from now on: none is silent for long before it trains."""
    with listening(tmp_path_factory.mktemp("trainings"), WORKER_COMMAND, warm=True) as running:
        request = {**write_table(running.settings.workspace), "modelPath": "model.py"}
        request["trainingConfig"]["epochs"] = 1
        running.model(RANK_HANGS.format(rank="none", number=0))
        start = "cold"
        while start == "cold":
            job_id = running.client.post("/v1/jobs", json=request).json()["jobId"]
            assert running.settled(job_id)["state"] == "succeeded"
            [start] = [each["data"]["start"] for each in running.events(job_id) if each["type"] == "job.started"]
        yield running


def answers(service: Listening, job_id: str) -> list[float]:
    """How long each question took until the job had settled, in seconds."""
    times = []
    state = "queued"
    while state not in ("failed", "succeeded", "cancelled", "early_stopped"):
        asked = time.perf_counter()
        state = service.client.get(f"/v1/jobs/{job_id}").json()["state"]
        times.append(time.perf_counter() - asked)
    return sorted(times)


def check_its_end(service: Listening, request: dict[str, Any], code: str, where: str = "") -> list[float]:
    """A job of this request, the only attempt of which fails with ``code``, ends and leaves nothing, and its log says ``where``
    it was; how long each question took meanwhile."""
    request = {**request, "limits": {"maxAttempts": 1, **request.get("limits", {})}}
    answer = service.client.post("/v1/jobs", json=request)
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["jobId"]
    times = answers(service, job_id)
    payload = service.client.get(f"/v1/jobs/{job_id}/result").json()
    assert payload["error"]["code"] == code, payload["error"]
    assert payload["error"]["nextMove"]
    attempt = service.settings.jobs / job_id / "attempts/1"
    assert marked(f"PYTORCH_TRAINER_ATTEMPT={attempt}") == []
    assert not (attempt / "tmp").exists()
    assert where in (attempt / "worker.log").read_text()
    check_unlocked(service, job_id)
    return times


def check_answers(times: list[float], record: Callable[[str, object], None]) -> None:
    """None took too long."""
    times.sort()
    p99 = times[int(len(times) * 0.99)]
    figures = f"{len(times)} answers, p99 {p99 * 1000:.1f} ms, longest {times[-1] * 1000:.1f} ms"
    print(figures)
    record("meanwhile", figures)
    assert times[-1] <= LONGEST_SECONDS


@pytest.mark.torture
@pytest.mark.alone
@pytest.mark.parametrize("name", GREEDY)
def test_a_greedy_job_ends_alone(service: Listening, name: str, record_property: Callable[[str, object], None]):
    program, sections, code = GREEDY[name]
    times = []
    for _ in range(ROUNDS):
        times += check_its_end(service, {**service.model(program), **sections}, code)
    record_property("jobs", ROUNDS)
    check_answers(times, record_property)


@pytest.mark.torture
@pytest.mark.alone
@pytest.mark.parametrize("name", TRAINED)
def test_a_training_that_lost_a_part_of_itself_ends_alone(
    training_service: Listening, chance: random.Random, name: str, record_property: Callable[[str, object], None]
):
    program, sections, code, where = TRAINED[name]
    workspace, times = training_service.settings.workspace, []
    request = {**write_table(workspace), "modelPath": "model.py", **sections}
    for _ in range(TRAININGS):
        text = program.format(rank=chance.randrange(2), number=chance.randrange(10, 400))
        (workspace / "model.py").write_text(text)
        times += check_its_end(training_service, request, code, where)
    record_property("jobs", TRAININGS)
    check_answers(times, record_property)


def check_unlocked(service: Listening, job_id: str) -> None:
    """Nobody holds the job's lock."""
    with (service.settings.jobs / job_id / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
