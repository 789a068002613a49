"""Jobs that take more than they may, by accident: each ends with its code and leaves nothing, and the service answers all
the while. The programs stop by themselves before they could hurt a machine whose guard is broken."""

import fcntl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.supervision.processes import marked
from tests.app.listening import Listening, listening
from tests.app.scene import WARDED

MEBIBYTE = 1 << 20
# The longest that an answer may take while a job misbehaves, in seconds.
LONGEST = 0.5

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


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("greedy"), WARDED, max_event_bytes=4 * MEBIBYTE) as running:
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


@pytest.mark.parametrize("name", GREEDY)
def test_a_greedy_job_ends_alone(service: Listening, name: str):
    program, sections, code = GREEDY[name]
    sections = {**sections, "limits": {"maxAttempts": 1, **sections.get("limits", {})}}
    job_id = service.submit(program, **sections)
    times = answers(service, job_id)
    p99 = times[int(len(times) * 0.99)]
    print(f"{name}: {len(times)} answers, p99 {p99 * 1000:.1f} ms, longest {times[-1] * 1000:.1f} ms")
    assert p99 <= LONGEST
    payload = service.client.get(f"/v1/jobs/{job_id}/result").json()
    assert payload["error"]["code"] == code, payload["error"]
    assert payload["error"]["nextMove"]
    attempt = service.settings.jobs / job_id / "attempts/1"
    assert marked(f"PYTORCH_TRAINER_ATTEMPT={attempt}") == []
    assert not (attempt / "tmp").exists()
    check_unlocked(service, job_id)


def check_unlocked(service: Listening, job_id: str) -> None:
    """Nobody holds the job's lock."""
    with (service.settings.jobs / job_id / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
