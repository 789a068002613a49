"""The nursery as the service sees it: stand-ins that speak, keep silent, die. A worker is then started as a program."""

import asyncio
import fcntl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.supervision.attempt_folder import AttemptFolder
from app.supervision.nursery import Nursery
from app.supervision.processes import marked
from app.supervision.worker_process import WorkerProcess
from tests.app.scene import in_a_loop

WORKER = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
HEAD = "import os, socket, sys\ncontrol = socket.socket(fileno=int(sys.argv[-1]))\n"
SILENT = HEAD + "control.send(b'ready')\nkept = [socket.recv_fds(control, 65536, 3)]\ncontrol.recv(1)"
REFUSES = (
    HEAD
    + """
control.send(b"ready")
_, (lock, log, line), _, _ = socket.recv_fds(control, 65536, 3)
socket.socket(fileno=line).send(b'{"refusal": "not today"}')
"""
)
DIES = HEAD + "control.send(b'ready')\ncontrol.recv(1, socket.MSG_PEEK)\nos._exit(3)"


@asynccontextmanager
async def stand_in(program: str) -> AsyncIterator[Nursery]:
    """A nursery that does what ``program`` says, ready."""
    nursery = Nursery([sys.executable, "-S", "-c", program], answer_seconds=0.2)
    nursery.start()
    try:
        async with asyncio.timeout(60):
            await nursery.ready.wait()
        yield nursery
    finally:
        nursery.close()


def attempt(folder: Path) -> AttemptFolder:
    made = AttemptFolder(folder / "jobs", "job", 1)
    made.path.mkdir(parents=True)
    return made


async def check_starts_as_a_program(nursery: Nursery, folder: AttemptFolder) -> None:
    """One worker, that holds the lock for as long as it lives, and nobody after it."""
    worker = await asyncio.to_thread(WorkerProcess.spawn, WORKER, folder, {}, nursery)
    assert marked(f"PYTORCH_TRAINER_ATTEMPT={folder.path}") == [worker.pid]
    worker.kill()
    assert worker.clear() == -9
    worker.release()
    with folder.lock.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@in_a_loop
async def test_a_nursery_that_does_not_answer_is_ended_and_keeps_no_lock(tmp_path: Path):
    async def goes() -> str:
        while nursery.state == "ready":
            await asyncio.sleep(0)
        return nursery.state

    async with stand_in(SILENT) as nursery, asyncio.timeout(60):
        going = asyncio.create_task(goes())
        await check_starts_as_a_program(nursery, attempt(tmp_path))
        # It is started again, and is ready again.
        assert await going == "warming"
        await nursery.ready.wait()


@in_a_loop
async def test_a_worker_that_the_nursery_refuses_or_dies_of_starts_as_a_program(tmp_path: Path):
    for number, program in enumerate((REFUSES, DIES)):
        async with stand_in(program) as nursery:
            await check_starts_as_a_program(nursery, attempt(tmp_path / str(number)))


@in_a_loop
async def test_a_nursery_that_may_not_fork_is_not_started_again():
    async with asyncio.timeout(60):
        nursery = Nursery([sys.executable, "-S", "-c", HEAD + "control.send(b'unfit')"])
        nursery.start()
        while nursery.state != "off":
            await asyncio.sleep(0)
    nursery.close()
