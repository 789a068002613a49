"""One attempt, from its worker's start (or its adoption) to its settlement."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from app.clock import from_now
from app.followers import Followers
from app.foreign_files import size_of_foreign
from app.settings import Settings
from app.store.interface import JobRow, Store, StoreUnavailable
from app.supervision.attempt_folder import AttemptFolder
from app.supervision.event_file import has_more, read_lines
from app.supervision.history import History, history_of
from app.supervision.orders import ORDERED, PAUSE, STOP, write_down
from app.supervision.retries import Retry, retry_of
from app.supervision.settlement import events_of, settle, settle_unheard
from app.supervision.silence import Silence
from app.supervision.verdict import Remains, judge, nothing_kept_of, training_error
from app.supervision.worker_process import WorkerProcess, clear
from app.worker_log import cut, is_too_long
from schemas.assignment import STOP_REASONS, Outcome, StopOrder, StopReason
from schemas.events import AttemptFailed, ExportProgress, JobPaused, RunFinalizing
from schemas.failures import FailureCode
from schemas.job import TRANSITIONS
from schemas.nodes import node_rank_of
from schemas.request import Limits

_LOOK_SECONDS = 0.05
_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)
# A later order takes the place of an earlier one, but nothing that of a job's limit.
_RANK: dict[StopReason, int] = {reason: rank for rank, reason in enumerate(STOP_REASONS)}
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
        settings: Settings,
        rest: Callable[[str, float], None],
    ) -> None:
        self._row = row
        self._folder = folder
        self._store = store
        self._followers = followers
        self._thread = thread
        self._settings = settings
        self._rest = rest
        self._limits: Limits = Limits.model_validate(row.request.get("limits", {}))
        self._keeps = node_rank_of(row.request) == 0
        self._silence = Silence(self._limits.max_silent_seconds, settings.idle_silence_seconds)
        self._seconds_before = 0.0
        self._offset = 0
        self._worker: WorkerProcess | None = None
        self._stop_reason: StopReason | None = None
        self._finalizing = self._exports = False
        self._ended: tuple[FailureCode, str] | None = None
        self._kill_at = float("inf")
        self._ingest_at = 0.0

    async def follow(self, worker: WorkerProcess) -> None:
        """Store what ``worker`` says, hold it to its limits, and settle the job when it has ended."""
        self._offset = await self._insist(self._store.offset, self._row.job_id, self._row.attempt)
        limited = self._limits.max_seconds is not None or self._limits.stop_after_seconds is not None
        if limited and self._row.attempt > 1:
            self._seconds_before = (await self._insist(self._history)).seconds_before(self._row.attempt)
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
        """Store the rest of what a worker that has ended said, and settle the job, or leave it to another attempt."""
        self._offset = await self._insist(self._store.offset, self._row.job_id, self._row.attempt)
        while await self._insist(self._ingest, True):
            self._followers.notify(self._row.job_id)
        if await self._insist(self._obey_another_node):
            self._followers.notify(self._row.job_id)
        remains = await self._insist(self._remains, returncode)
        outcome, history = judge(remains), await self._insist(self._history)
        if outcome.state == "paused" and not await self._insist(self._pause, history):
            # Another order has come this very moment.
            outcome = judge(await self._insist(self._remains, returncode))
        retry = self._retry(outcome, history)
        if outcome.state == "paused" or (retry and await self._insist(self._try_again, outcome, retry)):
            self._followers.notify(self._row.job_id)
            return
        stopped = remains.stop is not None and remains.stop.reason == "stopped"
        nothing_kept = stopped and self._keeps and history.checkpoint is None
        await self.settle(nothing_kept_of(outcome) if nothing_kept else outcome)

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

    async def stop(self, reason: StopReason) -> None:
        """Ask the worker to save and stop; after the grace it is killed, but not for a pause, which is there to lose
        nothing. Asking again changes nothing.

        A worker that is being started is asked as soon as it is there.
        """
        if self._stop_reason is None or _RANK[reason] > _RANK[self._stop_reason]:
            self._stop_reason = reason
            if self._worker is not None:
                await self._ask_to_stop(self._worker, reason)

    async def _ask_to_stop(self, worker: WorkerProcess, reason: StopReason) -> None:
        if reason != "paused":
            self._kill_at = asyncio.get_running_loop().time() + self._settings.cancel_grace_seconds
        try:
            await self._thread(self._folder.order_stop, reason)
        except OSError as error:
            # The disk is full, or the worker has removed its folder: the signal has to do.
            _log.warning("%s: the order to stop could not be written: %s", self._row.job_id, error)
        # It may have ended while the order was written; its descriptor is let go then, and may be another's.
        if self._worker is worker:
            worker.ask_to_stop()

    async def _enforce(self, worker: WorkerProcess) -> None:
        now = asyncio.get_running_loop().time()
        limit, budget, spent = (
            self._limits.max_seconds,
            self._limits.stop_after_seconds,
            self._seconds_before + worker.age,
        )
        if limit is not None and spent >= limit:
            await self.stop("timeout")
        elif budget is not None and spent >= budget and self._stop_reason is None:
            await self._insist(self._say_spent, budget)
            await self.stop("stopped")
        if now >= self._kill_at:
            await self._end_grace(worker, now)
        await self._enforce_bounds(worker, now)
        if is_too_long(self._folder.log):
            await self._thread(cut, self._folder.log)

    async def _end_grace(self, worker: WorkerProcess, now: float) -> None:
        """Kill the worker, or give it the grace again: it was told to stop, and is exporting what it keeps."""
        spared, self._exports = self._exports and self._stop_reason == "stopped", False
        self._kill_at = now + self._settings.cancel_grace_seconds if spared else float("inf")
        if not spared:
            await self._thread(worker.kill)

    async def _enforce_bounds(self, worker: WorkerProcess, now: float) -> None:
        """End a worker that hangs, or that says more than a disk should hold."""
        heard = size_of_foreign(self._folder.events)
        ending = self._finalizing or self._stop_reason is not None
        silent = self._silence.hangs(heard, now, worker.processor_seconds, ending=ending)
        if self._ended is not None:
            return
        if silent is not None:
            self._ended = (
                "hung",
                f"The worker said nothing for {silent:.0f} s; its log has the stacks of its threads.",
            )
            await self._thread(worker.abort)
        elif heard > self._settings.max_event_bytes:
            message = f"The worker has said {heard >> 20} MiB in events; at most {self._settings.max_event_bytes >> 20} are taken."
            self._ended = ("quota_exceeded", message)
            await self._thread(worker.kill)

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
        said = {line.type for line in lines}
        self._finalizing |= RunFinalizing.event_type in said
        self._exports |= ExportProgress.event_type in said
        self._store.ingest(self._row.job_id, self._row.attempt, lines, offset)
        self._offset = offset
        return True

    def _stop_order(self) -> StopOrder | None:
        """Why the job is to stop. An order counts from when the store has it, whether it was written for the worker or not."""
        order = self._folder.stop_order()
        row = self._store.get(self._row.job_id)
        if order is not None and order.reason == "timeout":
            return order
        reason = (ORDERED.get(row.state) if row is not None else None) or self._stop_reason
        return order if reason is None else StopOrder(reason=reason)

    def _obey_another_node(self) -> bool:
        """Write down that the job pauses, where another node of its run was told to; whether that was so."""
        outcome = self._folder.outcome()
        if (
            outcome is None
            or outcome.state != "paused"
            or not outcome.asked_elsewhere
            or self._stop_order() is not None
        ):
            return False
        row = self._store.get(self._row.job_id)
        return row is not None and write_down(self._store, row, PAUSE, "Another node of the run was asked to.")

    def _say_spent(self, budget: float) -> None:
        """Give the order to stop that comes with the end of the time, unless the job ends anyway."""
        row = self._store.get(self._row.job_id)
        if row is not None and STOP.state in TRANSITIONS[row.state]:
            write_down(self._store, row, STOP, f"limits.stopAfterSeconds ({budget:g} s) is over.")
            self._followers.notify(self._row.job_id)

    def _remains(self, returncode: int | None) -> Remains:
        folder, limit = self._folder, self._limits.max_seconds
        return Remains(folder.outcome(), self._stop_order(), returncode, folder.log_tail(), limit, self._ended)

    def _history(self) -> History:
        return history_of(events_of(self._store, self._row.job_id))

    def _pause(self, history: History) -> bool:
        """Say that the job is paused; False when it is to end instead."""
        paused, reason = JobPaused(from_checkpoint=history.checkpoint), ("paused", "A client asked for it.")
        return self._store.release(self._row.job_id, self._row.attempt, "paused", paused, reason)

    def _retry(self, outcome: Outcome, history: History) -> Retry | None:
        return retry_of(
            outcome,
            history,
            attempt=self._row.attempt,
            max_attempts=self._limits.max_attempts,
            rest_seconds=self._settings.retry_rest_seconds,
            keeps=self._keeps,
        )

    def _try_again(self, outcome: Outcome, retry: Retry) -> bool:
        """Put the job back into the queue; False when it is to end instead (a cancel was asked for)."""
        assert outcome.error is not None
        error = outcome.error
        failed = AttemptFailed(
            code=error.code,
            will_retry=True,
            message=error.message,
            from_checkpoint=retry.from_checkpoint,
            after_seconds=retry.after_seconds,
        )
        reason, rests_until = (error.code, error.message), from_now(retry.after_seconds)
        self._rest(self._row.job_id, retry.after_seconds)
        return self._store.release(self._row.job_id, self._row.attempt, "queued", failed, reason, rests_until)

    async def _insist(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call until the store can be used: what has happened must be recorded, however long the disk stays full."""
        while True:
            try:
                return await self._thread(function, *arguments)
            except StoreUnavailable as error:
                _log.warning("%s: trying again in %g s: %s", self._row.job_id, _RETRY_SECONDS, error)
                await asyncio.sleep(_RETRY_SECONDS)
