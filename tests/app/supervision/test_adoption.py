"""A service that dies leaves its workers running, and the next one goes on as if nothing had happened."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.job_folder import make_job_folder
from app.supervision.processes import marked
from tests.app.scene import STAND_IN, Scene, in_a_loop, open_gate, request

SERVICE = Path(__file__).with_name("service_process.py")
PROGRAM = "epoch(1); epoch(2); gate('away'); epoch(3); gate('back'); epoch(4); end('succeeded')"


@contextmanager
def killed_service(scene: Scene, job_id: str, last: str) -> Iterator[None]:
    """A service process that supervises the home of ``scene`` and is killed once it has stored the event ``last``."""
    command = [sys.executable, str(SERVICE), str(scene.settings.home), job_id, *STAND_IN]
    environment = {**os.environ, "PYTHONPATH": str(SERVICE.parents[3])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as service:
        assert service.stdout is not None
        try:
            for printed in service.stdout:
                if printed.strip() == last:
                    break
            yield
        finally:
            service.kill()
    assert service.returncode == -signal.SIGKILL


def wait_for_its_end(scene: Scene, job_id: str) -> None:
    """Until no process of the job lives; the kernel says so, by its lock."""
    with (scene.settings.jobs / job_id / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def unsupervised(home: Path) -> Scene:
    return Scene(home)


EVENTS = ["job.queued", *["epoch.started", "epoch.completed"] * 4, "job.completed"]


@in_a_loop
async def test_a_worker_outlives_a_killed_service_and_is_adopted(tmp_path: Path):
    scene = unsupervised(tmp_path)
    job_id = scene.submit(PROGRAM)
    with killed_service(scene, job_id, "4 epoch.completed"):
        pass
    [pid] = marked(f"PYTORCH_TRAINER_ATTEMPT={scene.attempt(job_id)}")
    open_gate(scene.settings.jobs / job_id / "away")
    async with scene:
        await scene.said(job_id, "epoch.completed", times=3)
        assert marked(f"PYTORCH_TRAINER_ATTEMPT={scene.attempt(job_id)}") == [pid]
        await scene.open_gate(job_id, "back")
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.attempt) == ("succeeded", 1)
        assert [event.type for event in scene.events(job_id)] == EVENTS
        assert [point["epoch"] for point in row.payload["learningCurve"]] == [1, 2, 3, 4]


@in_a_loop
async def test_a_result_left_while_no_service_ran_is_taken(tmp_path: Path):
    scene = unsupervised(tmp_path)
    job_id = scene.submit(PROGRAM)
    with killed_service(scene, job_id, "4 epoch.completed"):
        pass
    open_gate(scene.settings.jobs / job_id / "away")
    open_gate(scene.settings.jobs / job_id / "back")
    wait_for_its_end(scene, job_id)
    async with scene:
        assert (await scene.settled(job_id)).state == "succeeded"
        assert [event.type for event in scene.events(job_id)] == EVENTS


@in_a_loop
async def test_a_service_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path):
    scene = unsupervised(tmp_path)
    job_id = scene.submit("".join(f"epoch({n}); gate('gate{n}')\n" for n in range(1, 5)) + "end('succeeded')")
    for number in range(1, 5):
        with killed_service(scene, job_id, f"{2 * number} epoch.completed"):
            open_gate(scene.settings.jobs / job_id / f"gate{number}")
    async with scene:
        row = await scene.settled(job_id)
        assert (row.state, row.attempt) == ("succeeded", 1)
        assert [event.type for event in scene.events(job_id)] == EVENTS


@in_a_loop
async def test_a_worker_that_died_while_no_service_ran_is_lost(tmp_path: Path):
    scene = unsupervised(tmp_path)
    job_id = scene.submit("hide_a_child(); (folder / 'tmp').mkdir(); epoch(1); gate('away'); raise SystemExit(3)")
    with killed_service(scene, job_id, "3 epoch.completed"):
        pass
    open_gate(scene.settings.jobs / job_id / "away")
    wait_for_its_end(scene, job_id)
    async with scene:
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.reason_code) == ("failed", "worker_lost")
        assert "how is not known" in row.payload["error"]["message"]
        assert marked(f"PYTORCH_TRAINER_ATTEMPT={scene.attempt(job_id)}") == []
        assert not (scene.attempt(job_id) / "tmp").exists()


@in_a_loop
async def test_an_attempt_that_never_started_is_queued_again(tmp_path: Path):
    scene = unsupervised(tmp_path)
    job_id = scene.submit("epoch(1); end('succeeded')")
    assert scene.store.claim(job_id, ("cpu",)) is not None
    async with scene:
        row = await scene.settled(job_id)
        assert (row.state, row.attempt) == ("succeeded", 2)
        assert [(event.type, event.attempt) for event in scene.events(job_id)] == [
            ("job.queued", 0),
            ("attempt.failed", 1),
            ("epoch.started", 2),
            ("epoch.completed", 2),
            ("job.completed", 2),
        ]


@in_a_loop
async def test_a_worker_whose_start_was_not_noted_is_found(tmp_path: Path):
    scene = unsupervised(tmp_path)
    job_id = scene.submit(PROGRAM)
    with killed_service(scene, job_id, "4 epoch.completed"):
        pass
    (scene.attempt(job_id) / "worker.pid").unlink()
    async with scene:
        await scene.open_gate(job_id, "away")
        await scene.open_gate(job_id, "back")
        row = await scene.settled(job_id)
        assert (row.state, row.attempt) == ("succeeded", 1)


@in_a_loop
async def test_another_process_with_the_number_of_a_dead_worker_is_left_alone(tmp_path: Path):
    scene = unsupervised(tmp_path)
    job_id = scene.submit("epoch(1); gate('away'); os.abort()")
    with killed_service(scene, job_id, "2 epoch.completed"):
        pass
    open_gate(scene.settings.jobs / job_id / "away")
    wait_for_its_end(scene, job_id)
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (scene.attempt(job_id) / "worker.pid").write_text(f"{stranger.pid} 1\n")
        with (scene.settings.jobs / job_id / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            async with scene:
                assert (await scene.settled(job_id)).reason_code == "worker_lost"
        assert stranger.poll() is None
        stranger.communicate(b"\n")
    assert stranger.returncode == 0


@in_a_loop
async def test_a_closed_supervisor_leaves_its_workers_to_the_next_one(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(PROGRAM)
        waits = scene.submit("epoch(1); end('succeeded')")
        await scene.said(job_id, "epoch.completed", times=2)
    async with Scene(tmp_path) as scene:
        await scene.open_gate(job_id, "away")
        await scene.said(job_id, "epoch.completed", times=3)
        assert scene.row(waits).state == "queued"
        await scene.open_gate(job_id, "back")
        assert (await scene.settled(job_id)).state == "succeeded"
        assert [event.type for event in scene.events(job_id)] == EVENTS
        assert (await scene.settled(waits)).state == "succeeded"


@pytest.mark.parametrize("ordered", [True, False], ids=["order written", "order lost"])
@in_a_loop
async def test_a_cancel_is_carried_on_by_the_next_service(tmp_path: Path, ordered: bool):
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); epoch(1)\nwhile True: signal.pause()"
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(deaf)
        await scene.said(job_id, "epoch.completed")
        await scene.supervisor.cancel(job_id)
    if not ordered:
        (scene.attempt(job_id) / "stop.json").unlink()
    async with Scene(tmp_path, cancel_grace_seconds=0.1) as scene:
        row = await scene.settled(job_id)
        assert (row.state, row.reason_code) == ("cancelled", "cancelled")
        assert marked(f"PYTORCH_TRAINER_ATTEMPT={scene.attempt(job_id)}") == []


@pytest.mark.alone
@in_a_loop
async def test_the_limit_of_an_adopted_worker_counts_from_its_start(tmp_path: Path):
    limit = 1.0
    grows_old = f"""
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
signal.setitimer(signal.ITIMER_REAL, {limit})
epoch(1); signal.sigwait([signal.SIGALRM]); gate('old'); signal.pause()"""
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(grows_old, request=request(limits={"maxSeconds": limit}))
        await scene.said(job_id, "epoch.completed")
    await scene.open_gate(job_id, "old")
    begin = asyncio.get_running_loop().time()
    async with Scene(tmp_path) as scene:
        row = await scene.settled(job_id)
        assert row.reason_code == "timeout"
        assert asyncio.get_running_loop().time() - begin < limit


@in_a_loop
async def test_the_folder_of_a_job_that_was_never_accepted_is_taken_away(tmp_path: Path):
    scene = unsupervised(tmp_path)
    accepted = scene.submit("epoch(1); end('succeeded')")
    orphan = make_job_folder(scene.settings.jobs, "job_orphan", b"")
    other = scene.settings.jobs / "notes"
    other.mkdir()
    async with scene:
        assert (await scene.settled(accepted)).state == "succeeded"
        assert (orphan.exists(), other.exists()) == (False, True)
