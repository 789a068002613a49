"""The supervisor: gives queued jobs to workers while devices are free, and sees every attempt to its end."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from app.followers import Followers
from app.free_space import shortage
from app.job_folder import remove_strays
from app.settings import Settings
from app.store.interface import IllegalTransition, JobRow, Store, StoreUnavailable
from app.store.origins import origins_of
from app.supervision.assigning import assignment_of, environment_of
from app.supervision.attempt import Attempt
from app.supervision.attempt_folder import AttemptFolder
from app.supervision.not_begun import not_started, too_many_devices, without_model
from app.supervision.nursery import NO_NURSERY, build_nursery
from app.supervision.orders import CANCEL, Order, write_down
from app.supervision.retries import rest_left
from app.supervision.settlement import settle
from app.supervision.slots import Slots
from app.supervision.worker_process import WorkerProcess, clear
from schemas.engines import ENGINES
from schemas.events import AttemptFailed, JobResumed

WORKER_COMMAND = (sys.executable, "-m", "trainer_core.warden")

_THREADS = 8
_RETRY_SECONDS = 1.0
_SHORTAGE_SECONDS = 5.0
_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class _Line:
    """Jobs that wait for the same devices: those of the engines ``only`` (of all, when empty), but for those of ``but``."""

    uses_gpu: bool
    only: tuple[str, ...] = ()
    but: tuple[str, ...] = ()


_ON_CPU = tuple(name for name, engine in ENGINES.items() if not engine.uses_gpu)
_ONE_LINE = (_Line(uses_gpu=True),)
_TWO_LINES = (_Line(uses_gpu=True, but=_ON_CPU), _Line(uses_gpu=False, only=_ON_CPU))


class Supervisor:
    """Runs jobs: at most one attempt of each, in the order of acceptance, as many at a time as there are devices.

    Workers are no part of it: ``close`` leaves them running, and ``start`` adopts those that another supervisor
    left, however it ended. Methods are called in the thread of the event loop.
    """

    def __init__(
        self, settings: Settings, store: Store, followers: Followers, command: Sequence[str] = WORKER_COMMAND
    ) -> None:
        self._settings = settings
        self._store = store
        self._followers = followers
        self._command = command
        self._nursery = build_nursery(settings)
        self._slots = Slots(settings.devices, settings.slots)
        self._lines = _TWO_LINES if self._slots.has_gpus else _ONE_LINE
        self._attempts: dict[str, Attempt] = {}
        self._resting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="supervisor")

    async def start(self) -> None:
        """Take over what an earlier supervisor left, then begin with the queue."""
        self._loop = asyncio.get_running_loop()
        await self._thread(remove_strays, self._settings.jobs, self._store.ids, self._store.tombstones.get)
        for row in await self._thread(self._store.active):
            self._slots.hold(row.assigned)
            self._tend(row, self._adopt)
        for row in await self._thread(self._store.resting):
            assert row.rests_until is not None
            self._rest(row.job_id, rest_left(row.rests_until))
        scheduling = asyncio.create_task(self._schedule())
        self._tasks.add(scheduling)
        scheduling.add_done_callback(_report)
        self.wake()
        self._nursery.start()

    def wake(self) -> None:
        """There is a new job, or a free device."""
        self._news.set()

    def devices(self) -> dict[str, tuple[int, int]]:
        """Kind of device -> (in use, all)."""
        return self._slots.counts()

    async def give(self, job_id: str, order: Order) -> None:
        """Ask a job to stop in the way of ``order``: one without a worker obeys at once, another when its worker has saved.

        Asking again changes nothing. Raises LookupError for an unknown job and IllegalTransition for one whose state has
        no such way out.
        """
        while not await self._thread(write_down, self._store, row := await self._known(job_id), order):
            pass
        self._followers.notify(job_id)
        attempt = self._attempts.get(job_id)
        if attempt is not None and row.state not in order.fulfilled:
            await attempt.stop(order.reason)

    async def cancel(self, job_id: str) -> None:
        """Ask a job to stop and to be no more: its checkpoint is kept. As ``give``."""
        await self.give(job_id, CANCEL)

    async def resume(self, job_id: str) -> None:
        """Put a paused job back into the queue; one that is there, or runs, is left alone. As ``give``."""
        row = await self._known(job_id)
        if row.state in ("queued", "preparing", "running", "finalizing"):
            return
        if row.state != "paused":
            raise IllegalTransition(row, "queued")
        resumed = JobResumed(reason="A client asked for it.")
        # Another client was quicker, with this or with a cancel, and the job may be running by now.
        with suppress(IllegalTransition):
            await self._thread(partial(self._store.say, job_id, resumed, state="queued", from_state="paused"))
        self._followers.notify(job_id)
        self.wake()

    async def close(self) -> None:
        """Stop supervising. Workers go on, and what they say is kept for the next supervisor."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._nursery.close()
        self._executor.shutdown()

    async def _known(self, job_id: str) -> JobRow:
        row = await self._thread(self._store.get, job_id)
        if row is None:
            raise LookupError(f"There is no job {job_id}.")
        return row

    async def _schedule(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                for line in self._lines:
                    while await self._begin_oldest(line):
                        pass
            except StoreUnavailable as error:
                _log.warning("The queue waits %g s: %s", _RETRY_SECONDS, error)
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self.wake)

    async def _begin_oldest(self, line: _Line) -> bool:
        """Begin with the oldest queued job of ``line``; False when there is none, or no device for it.

        None of its line overtakes it: a job that asks for many devices would otherwise wait for ever behind small ones.
        """
        look = partial(self._store.queue, 1 + len(self._resting), only=line.only, but=line.but)
        row = next((row for row in await self._thread(look) if row.job_id not in self._resting), None)
        if row is None:
            return False
        if (short := await self._thread(shortage, self._settings)) is not None:
            _log.warning("The queue waits %g s: %s", _SHORTAGE_SECONDS, short)
            self._loop.call_later(_SHORTAGE_SECONDS, self.wake)
            return False
        most = self._slots.most()
        if line.uses_gpu and most is not None and row.devices > most:
            await self._thread(settle, self._store, row, too_many_devices(row.devices, most))
            self._followers.notify(row.job_id)
            return True
        assigned = self._slots.take(row.devices, line.uses_gpu)
        if assigned is None:
            return False
        claimed = await self._claim(row.job_id, assigned)
        if claimed is not None:
            self._followers.notify(row.job_id)
            self._tend(claimed, self._begin)
        return True

    async def _claim(self, job_id: str, assigned: tuple[str, ...]) -> JobRow | None:
        claimed = None
        try:
            claimed = await self._thread(self._store.claim, job_id, assigned)
        finally:
            if claimed is None:
                self._slots.give_back(assigned)
        return claimed

    def _tend(self, row: JobRow, care: Callable[[JobRow, AttemptFolder, Attempt], Awaitable[None]]) -> None:
        """See to the attempt of ``row`` in a task of its own; at its end its devices are free."""
        folder = AttemptFolder(self._settings.jobs, row.job_id, row.attempt)
        attempt = Attempt(row, folder, self._store, self._followers, self._thread, self._settings, self._rest)
        self._attempts[row.job_id] = attempt
        task = asyncio.create_task(self._to_the_end(care, row, folder, attempt))
        self._tasks.add(task)

        def at_end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            # Not a later attempt of the same job: it may be queued again before this task is quite gone.
            if self._attempts[row.job_id] is attempt:
                del self._attempts[row.job_id]
            self._slots.give_back(row.assigned)
            self.wake()
            _report(task)

        task.add_done_callback(at_end)

    async def _to_the_end(
        self,
        care: Callable[[JobRow, AttemptFolder, Attempt], Awaitable[None]],
        row: JobRow,
        folder: AttemptFolder,
        attempt: Attempt,
    ) -> None:
        """This process's one broad ``except``: a job is never left without an end, whatever its worker did to us."""
        try:
            await care(row, folder, attempt)
        except Exception as error:
            _log.exception("%s: seeing to attempt %d failed", row.job_id, row.attempt)
            await attempt.abandon(error)

    async def _begin(self, row: JobRow, folder: AttemptFolder, attempt: Attempt) -> None:
        """Start a worker for a new attempt and follow it."""
        if not await self._thread(folder.model.is_file):
            await attempt.settle(without_model(str(folder.model)))
            return
        try:
            worker = await self._thread(self._spawn, row, folder)
        except (OSError, ValidationError) as error:
            await attempt.settle(not_started(error))
            return
        await attempt.follow(worker)

    async def _adopt(self, row: JobRow, folder: AttemptFolder, attempt: Attempt) -> None:
        """Go on with an attempt that another supervisor began."""
        worker = await self._thread(WorkerProcess.adopt, folder)
        if worker is not None:
            await attempt.follow(worker)
            return
        await self._thread(clear, folder)
        if folder.said_nothing() and await self._thread(self._requeue, row):
            self._followers.notify(row.job_id)
            return
        await attempt.conclude(None)

    def _requeue(self, row: JobRow) -> bool:
        message = "The service ended before a worker had started; the job is queued again."
        failed = AttemptFailed(code="worker_lost", will_retry=True, message=message)
        return self._store.release(row.job_id, row.attempt, "queued", failed, ("worker_lost", message))

    def _rest(self, job_id: str, seconds: float) -> None:
        """Leave a queued job alone for so long. From any thread."""
        self._resting.add(job_id)

        def end() -> None:
            self._resting.discard(job_id)
            self.wake()

        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, end)

    def _spawn(self, row: JobRow, folder: AttemptFolder) -> WorkerProcess:
        folder.prepare(assignment_of(self._settings, row, folder, origins_of(row, self._store.get)))
        # What a process that was forked does with a GPU was not measured yet.
        nursery = self._nursery if set(row.assigned) == {"cpu"} else NO_NURSERY
        return WorkerProcess.spawn(self._command, folder, environment_of(row), nursery)

    async def _thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call off the event loop. A caller that is cancelled leaves only when the function has returned."""
        call = asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call])
            raise


def _report(task: asyncio.Task[None]) -> None:
    """A task of the supervisor that fails is a fault of ours: say so, and let the others go on."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a task of the supervisor failed", exc_info=error)
