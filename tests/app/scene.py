"""What the tests of the queue share: jobs to accept, lines that workers write, and a supervisor with real workers."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any

from app.followers import Followers
from app.job_folder import make_job_folder
from app.settings import Settings
from app.store.interface import JobRow, NewJob
from app.store.sqlite import SqliteStore
from app.supervision.payload import check
from app.supervision.processes import kill_marked
from app.supervision.supervisor import Supervisor
from schemas.events import Event, EventData, WorkerLine

TIME = "2026-01-02T03:04:05.678Z"
STAND_IN = [sys.executable, "-S", str(Path(__file__).with_name("stand_in.py"))]
# Is asked to stop when it listens, and not before: a warden holds back what comes earlier.
PATIENT = ["env", "--block-signal=TERM", *STAND_IN]
LISTENS = "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})"
WARDED = [sys.executable, str(Path(__file__).with_name("warded_stand_in.py"))]
_numbers = count(1)


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine, run in a loop of its own. One that fails leaves no worker behind either."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        try:
            asyncio.run(test(**fixtures))
        finally:
            for folder in fixtures.get("tmp_path", Path("/nowhere")).glob("**/jobs/*/attempts/*"):
                kill_marked(f"PYTORCH_TRAINER_ATTEMPT={folder}")

    return run


def request(**sections: object) -> dict[str, object]:
    """A request as the service stores it: paths absolute. One attempt and no more, unless ``limits`` say otherwise."""
    data = {"trainPath": "/workspace/data"}
    limits = {"maxAttempts": 1, **sections.pop("limits", {})}  # type: ignore[dict-item]
    return {"modelPath": "/workspace/model.py", "dataConfig": data, "trainingConfig": {}, "limits": limits, **sections}


def new_job(**changes: object) -> NewJob:
    """A job nobody has seen before."""
    values: dict[str, object] = {
        "job_id": f"job_{next(_numbers):06}",
        "request": request(),
        "input_sha256": "a" * 64,
        "engine": "native",
        "labels": {},
        "devices": 1,
        "idempotency_key": None,
        "model_sha256": "b" * 64,
        "git_commit": None,
    }
    return NewJob(**{**values, **changes})  # type: ignore[arg-type]


def line(data: EventData) -> WorkerLine:
    """What a worker writes to say ``data``."""
    return WorkerLine(type=data.event_type, time=TIME, data=data.to_json())


class Scene:
    """A home with a store, and a supervisor whose workers are stand-ins. Used with ``async with``."""

    def __init__(self, home: Path, command: Sequence[str] = STAND_IN, **settings: Any) -> None:
        self.settings = Settings(
            home=home, workspace=home, **{"cancel_grace_seconds": 10.0, "retry_rest_seconds": 0.0, **settings}
        )
        self.store = SqliteStore(self.settings.database)
        self.followers = Followers()
        self.supervisor = Supervisor(self.settings, self.store, self.followers, command)

    async def __aenter__(self) -> "Scene":
        await self.supervisor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.close()
        self.store.close()

    def submit(self, program: str, **changes: object) -> str:
        """A job whose worker does what ``program`` says."""
        job = new_job(**changes)
        make_job_folder(self.settings.jobs, job.job_id, program.encode())
        self.store.accept(job)
        self.supervisor.wake()
        return job.job_id

    def row(self, job_id: str) -> JobRow:
        """The job as stored now."""
        row = self.store.get(job_id)
        assert row is not None
        return row

    def events(self, job_id: str) -> list[Event]:
        """All that was said, which is without gap or double."""
        events = list(self.store.events(job_id, after=-1))
        assert [event.seq for event in events] == list(range(len(events)))
        return events

    def attempt(self, job_id: str, number: int = 1) -> Path:
        """The folder of an attempt."""
        return self.settings.jobs / job_id / "attempts" / str(number)

    async def until(self, job_id: str, holds: Callable[[JobRow], bool]) -> JobRow:
        """The job as soon as it is so."""
        with self.followers.follow(job_id) as follower:
            async with asyncio.timeout(60):
                while not holds(row := self.row(job_id)):
                    await follower.wait(None)
                return row

    async def said(self, job_id: str, kind: str, times: int = 1) -> Event:
        """The event of this type, as soon as it was said so many times."""
        await self.until(job_id, lambda _: [event.type for event in self.events(job_id)].count(kind) >= times)
        return [event for event in self.events(job_id) if event.type == kind][times - 1]

    async def settled(self, job_id: str) -> JobRow:
        """The job when it has ended; its payload is valid, and no process and no lock is left."""
        row = await self.until(job_id, lambda row: row.payload is not None)
        assert row.payload is not None
        assert check(row.payload) == []
        assert self.events(job_id)[-1].type == "job.completed"
        return row

    async def open_gate(self, job_id: str, name: str) -> None:
        """Let the worker pass; returns when it stood there and goes on."""
        await asyncio.to_thread(open_gate, self.settings.jobs / job_id / name)


def open_gate(path: Path) -> None:
    """Let a stand-in pass its gate at ``path``; waits until it stands there."""
    with suppress(FileExistsError):
        os.mkfifo(path)
    path.write_bytes(b"")
