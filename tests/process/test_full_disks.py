"""A disk that is full, in each place where something is written: the failure says so, the last good checkpoint is whole, the
service answers, and work goes on when there is room."""

import fcntl
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.supervision.supervisor import WORKER_COMMAND
from schemas.assignment import OUTCOME_FILE, Outcome
from tests.app.scene import open_gate
from tests.app.service_nursery import services
from tests.app.workspace import TORCH_MODEL
from tests.process.real_service import MODEL, follow_until, write_table
from tests.tiers import rounds
from tests.trainer_core.conftest import MODEL as SMALL_MODEL
from tests.trainer_core.conftest import Bench
from tests.trainer_core.nursery import Nursery, nursery
from trainer_core.checkpoints.checkpoint_folder import complete_checkpoints
from trainer_core.checkpoints.resumption import load_newest
from trainer_core.checkpoints.snapshot import load_snapshot

ROUNDS = rounds(1, 13)
TRAINING = {
    "trainingConfig": {"epochs": 3, "learningRate": 0.01},
    "modelConfig": {"args": {"hidden": 400}},
    "dataConfig": {"valPath": None},
}


class SmallDisk:
    """A file system of its own at ``path``."""

    def __init__(self, path: Path) -> None:
        self._ballast = path / "ballast"

    def fill(self, room: int = 0) -> None:
        """Leave so many bytes, whoever writes meanwhile."""
        with self._ballast.open("wb", buffering=0) as file:
            while True:
                place = os.statvfs(self._ballast)
                more = place.f_bavail * place.f_frsize - room
                if more <= 0:
                    return
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, more)

    def make_room(self) -> None:
        """Leave it as it was."""
        self._ballast.unlink()


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """A disk of ``size`` bytes, mounted at ``path``; skips where this may not be."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a disk that is small cannot be mounted: run as root ({mounted.stderr.strip()})")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def train(runs: Nursery, bench: Bench, name: str, **saving: object) -> tuple[Outcome, Path]:
    """A run that saves after every step; its outcome and its folder."""
    saving = {"saveEverySteps": 1, "keepLast": 2, **saving}
    assignment = bench.assignment(name, checkpointConfig=saving, **TRAINING)
    assert runs.train(assignment) == 0
    outcome = (Path(assignment.attempt_folder) / OUTCOME_FILE).read_bytes()
    return Outcome.model_validate_json(outcome), Path(assignment.run_folder)


@pytest.mark.torture
def test_a_disk_that_is_full_of_checkpoints(
    tmp_path: Path, chance: random.Random, record_property: Callable[[str, object], None]
):
    bench, full = Bench(tmp_path), 0
    bench.write_model(SMALL_MODEL)
    bench.write_data()
    with nursery() as runs, small_disk(tmp_path / "runs", 2 << 20) as disk:
        runs.train(bench.assignment("first", checkpointConfig={"saveEverySteps": 1}, **TRAINING), fork=False)
        _, folder = train(runs, bench, "whole")
        [(newest, _), *_] = complete_checkpoints(folder)
        whole, used = load_snapshot(newest), sum(path.stat().st_blocks * 512 for path in newest.iterdir())
        while full < ROUNDS:
            # There may be room for a part of a checkpoint, for all that are kept, or for nearly all.
            disk.fill(chance.randrange(int(3.2 * used)))
            outcome, failed = train(runs, bench, f"full-{full}")
            disk.make_room()
            left = [path for path, _ in complete_checkpoints(failed)] if failed.exists() else []
            if outcome.error is None:
                shutil.rmtree(failed)
                continue
            full += 1
            assert outcome.error.code == "disk_full"
            if left:
                read, skipped = load_newest(failed, load_snapshot)
                assert (read.path, skipped) == (left[0], [])
            outcome, folder = train(runs, bench, f"room-{full}", **({"resumeFrom": str(failed)} if left else {}))
            assert outcome.state == "succeeded"
            read, _ = load_newest(folder, load_snapshot)
            assert all(np.array_equal(tensor, read.model[name]) for name, tensor in whole.model.items())
            for used_up in (failed, folder):
                shutil.rmtree(used_up, ignore_errors=True)
    record_property("full disks", full)


def retry(client: httpx.Client, job_id: str) -> str:
    """The number of the job that takes the place of a failed one."""
    answer = client.post(f"/v1/jobs/{job_id}/retry")
    assert answer.status_code == 202, answer.text
    number: str = answer.json()["jobId"]
    return number


@pytest.mark.torture
@pytest.mark.timeout(180)
@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_a_disk_that_is_full_of_what_a_worker_says(
    tmp_path: Path, round_number: int, record_property: Callable[[str, object], None]
):
    with small_disk(tmp_path / "home", 32 << 20) as disk, services(tmp_path) as nursery:
        printing = (
            MODEL if round_number % 2 else MODEL.replace("        work =", "        print('x' * 2000)\n        work =")
        )
        (nursery.workspace / "slow.py").write_text(printing.replace("range(12)", "range(10)"))
        request = write_table(nursery.workspace)
        request["trainingConfig"]["epochs"] = 3
        with nursery.serving(WORKER_COMMAND, disk_floor_bytes=0, warm=True) as service, service.client() as client:
            job_id = client.post("/v1/jobs", json=request).json()["jobId"]
            follow_until(client, job_id, "checkpoint.saved")
            disk.fill()
            # Its events find no room, and neither does its outcome.
            assert client.get(f"/v1/jobs/{job_id}").status_code == 200
            wait_for_its_end(nursery.home / "jobs" / job_id)
            answer = client.post("/v1/jobs", json=request)
            assert (answer.status_code, answer.json()["code"]) == (503, "disk_full")
            assert client.get("/v1/jobs").status_code == 200
            disk.make_room()
            failed = follow_until(client, job_id, "job.completed")[-1]["data"]["output"]
            assert failed["error"]["code"] == "disk_full", failed["error"]
            events = follow_until(client, retry(client, job_id), "job.completed")
            assert events[-1]["data"]["state"] == "succeeded"
            assert "run.restored" in [event["type"] for event in events]
    record_property("full disks", 1)


def wait_for_its_end(folder: Path) -> None:
    """Until no process of the job lives; the kernel says so, by its lock."""
    with (folder / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


@pytest.mark.torture
def test_a_disk_that_is_full_of_the_database(
    tmp_path: Path, chance: random.Random, record_property: Callable[[str, object], None]
):
    with small_disk(tmp_path / "home", 16 << 20) as disk, services(tmp_path) as nursery:
        (nursery.workspace / "model.py").write_text("epoch(1); gate('go'); epoch(2); end('succeeded')\n" + TORCH_MODEL)
        (nursery.workspace / "data").mkdir()
        request = {
            "modelPath": "model.py",
            "engine": "native",
            "dataConfig": {"trainPath": "data"},
            "trainingConfig": {},
        }
        with nursery.serving(disk_floor_bytes=0) as service, service.client() as client:
            for _ in range(ROUNDS):
                jobs = [client.post("/v1/jobs", json=request).json()["jobId"] for _ in range(2)]
                follow_until(client, jobs[0], "epoch.completed")
                disk.fill(chance.choice([0, 4096, 20_000]))
                orders = [("POST", "/v1/jobs"), ("POST", f"/v1/jobs/{jobs[1]}/cancel"), ("GET", f"/v1/jobs/{jobs[0]}")]
                for method, path in [
                    *orders,
                    ("GET", "/v1/jobs"),
                    ("GET", "/healthz"),
                    ("POST", f"/v1/jobs/{jobs[0]}/stop"),
                ]:
                    answer = client.request(
                        method, path, json=request if path == "/v1/jobs" and method == "POST" else None
                    )
                    assert answer.status_code in (200, 202) or answer.json()["code"] in ("disk_full", "unavailable")
                    assert method == "POST" or answer.status_code == 200
                disk.make_room()
                for job_id in [view["jobId"] for view in client.get("/v1/jobs").json()["jobs"]]:
                    client.post(f"/v1/jobs/{job_id}/cancel")
                    events = follow_until(client, job_id, "job.completed")
                    assert [event["seq"] for event in events] == list(range(len(events)))
                last = client.post("/v1/jobs", json=request).json()["jobId"]
                follow_until(client, last, "epoch.completed")
                open_gate(nursery.home / "jobs" / last / "go")
                assert follow_until(client, last, "job.completed")[-1]["data"]["state"] == "succeeded"
    record_property("full disks", ROUNDS)
