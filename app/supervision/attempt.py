"""One attempt, from its worker's start (or its adoption) to its settlement."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, Protocol, TypeVar

from app.followers import Followers
from app.store.interface import JobRow, Store, StoreUnavailable
from app.supervision.attempt_folder import AttemptFolder
from app.supervision.event_file import has_more, read_lines
from app.supervision.settlement import settle, settle_unheard
from app.supervision.verdict import Remains, judge, training_error
from app.supervision.worker_process import WorkerProcess, clear
from app.worker_log import cut, is_too_long
from schemas.assignment import Outcome, StopOrder

_LOOK_SECONDS = 0.05
_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Thread(Protocol):
    """Calls a function that may block, off the event loop."""

    def __call__(self, function: Callable[..., T], *arguments: Any) -> Awaitable[T]:
        """What ``function(*arguments)`` returns or raises."""


class Attempt:
    """The attempt that ``row`` was claimed for. Its events go to the store as they are written; followers are told."""

    def __init__(
        self,
        row: JobRow,
        folder: AttemptFolder,
        store: Store,
        followers: Followers,
        thread: Thread,
        grace_seconds: float,
    ) -> None:
        self._row = row
        self._folder = folder
        self._store = store
        self._followers = followers
        self._thread = thread
        self._grace_seconds = grace_seconds
        self._max_seconds: float | None = row.request.get("limits", {}).get("maxSeconds")
        self._offset = 0
        self._worker: WorkerProcess | None = None
        self._stop_reason: Literal["cancelled", "timeout"] | None = None
        self._kill_at = float("inf")
        self._ingest_at = 0.0

    async def follow(self, worker: WorkerProcess) -> None:
        """Store what ``worker`` says, hold it to its limits, and settle the job when it has ended."""
        self._offset = await self._insist(self._store.offset, self._row.job_id, self._row.attempt)
        order = await self._insist(self._stop_order)
        if order is not None:
            await self.stop(order.reason)
        with worker.watched() as ended:
            self._worker = worker
            if self._stop_reason is not None:
                await self._ask_to_stop(worker, self._stop_reason)
            while not ended.is_set():
                await self._enforce(worker)
                if not await self._ingest_when_possible():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(ended.wait(), _LOOK_SECONDS)
            self._worker = None
            returncode = await self._thread(worker.clear)
        await self.conclude(returncode)

    async def conclude(self, returncode: int | None) -> None:
        """Store the rest of what a worker that has ended said, and settle the job."""
        self._offset = await self._insist(self._store.offset, self._row.job_id, self._row.attempt)
        while await self._insist(self._ingest, True):
            self._followers.notify(self._row.job_id)
        await self.settle(judge(await self._insist(self._remains, returncode)))

    async def settle(self, outcome: Outcome) -> None:
        """Record ``outcome`` as the end of the job."""
        await self._insist(settle, self._store, self._row, outcome)
        self._followers.notify(self._row.job_id)

    async def abandon(self, error: Exception) -> None:
        """Nothing more is known of the attempt but that ``error`` befell us: end its processes, and say so."""
        await self._thread(clear, self._folder)
        message = f"The service met an unexpected {type(error).__name__} in seeing to the job, and ended it."
        outcome = Outcome(state="failed", error=training_error("internal", message, str(error)))
        await self._insist(settle_unheard, self._store, self._row, outcome)
        self._followers.notify(self._row.job_id)

    async def stop(self, reason: Literal["cancelled", "timeout"]) -> None:
        """Ask the worker to save and stop; after the grace it is killed. Asking again changes nothing.

        A worker that is being started is asked as soon as it is there.
        """
        if self._stop_reason is None:
            self._stop_reason = reason
            if self._worker is not None:
                await self._ask_to_stop(self._worker, reason)

    async def _ask_to_stop(self, worker: WorkerProcess, reason: Literal["cancelled", "timeout"]) -> None:
        self._kill_at = asyncio.get_running_loop().time() + self._grace_seconds
        try:
            await self._thread(self._folder.order_stop, reason)
        except OSError as error:
            # The disk is full, or the worker has removed its folder: the signal has to do.
            _log.warning("%s: the order to stop could not be written: %s", self._row.job_id, error)
        worker.ask_to_stop()

    async def _enforce(self, worker: WorkerProcess) -> None:
        if self._max_seconds is not None and worker.age >= self._max_seconds:
            await self.stop("timeout")
        if asyncio.get_running_loop().time() >= self._kill_at:
            self._kill_at = float("inf")
            await self._thread(worker.kill)
        if is_too_long(self._folder.log):
            await self._thread(cut, self._folder.log)

    async def _ingest_when_possible(self) -> bool:
        """Store the next piece of the event file; whether there was one.

        A store that cannot be written must not keep the worker from being held to its limits: tried again later.
        """
        now = asyncio.get_running_loop().time()
        if now < self._ingest_at or not has_more(self._folder.events, self._offset):
            return False
        try:
            stored = await self._thread(self._ingest, False)
        except StoreUnavailable as error:
            _log.warning("%s: events wait %g s to be stored: %s", self._row.job_id, _RETRY_SECONDS, error)
            self._ingest_at = now + _RETRY_SECONDS
            return False
        self._followers.notify(self._row.job_id)
        return stored

    def _ingest(self, ended: bool) -> bool:
        """Store the next piece of the event file; whether there was one."""
        lines, offset = read_lines(self._folder.events, self._offset, ended=ended)
        if offset == self._offset:
            return False
        self._store.ingest(self._row.job_id, self._row.attempt, lines, offset)
        self._offset = offset
        return True

    def _stop_order(self) -> StopOrder | None:
        """Why the job is to stop. A cancel counts from when the store has it, whether the order was written or not."""
        order = self._folder.stop_order()
        row = self._store.get(self._row.job_id)
        if order is None and row is not None and row.state == "cancelling":
            return StopOrder(reason="cancelled")
        if order is None and self._stop_reason is not None:
            return StopOrder(reason=self._stop_reason)
        return order

    def _remains(self, returncode: int | None) -> Remains:
        folder = self._folder
        return Remains(folder.outcome(), self._stop_order(), returncode, folder.log_tail(), self._max_seconds)

    async def _insist(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call until the store can be used: what has happened must be recorded, however long the disk stays full."""
        while True:
            try:
                return await self._thread(function, *arguments)
            except StoreUnavailable as error:
                _log.warning("%s: trying again in %g s: %s", self._row.job_id, _RETRY_SECONDS, error)
                await asyncio.sleep(_RETRY_SECONDS)
