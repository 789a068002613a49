"""The use cases. HTTP and whatever else speaks to clients calls these, and has no rule of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from shutil import disk_usage
from typing import Any, Literal, Protocol

from app.acceptance import Acceptance, Submitted
from app.disposal import Disposal
from app.feeds import Feeds
from app.followers import Followers
from app.gate.gate import Depth, Gate
from app.job_view import view_of, view_of_delivery
from app.observing.snapshot import Snapshot
from app.planning import plan_of
from app.problems import Refusal
from app.refusals import in_use, not_allowed, not_there
from app.settings import Settings
from app.store.interface import (
    IllegalTransition,
    InUse,
    JobRow,
    Store,
    StoreUnavailable,
)
from app.supervision.orders import CANCEL, PAUSE, STOP, Order
from app.supervision.payload import check
from app.worker_log import LogTail, read_tail
from schemas.events import Event, JobCompleted
from schemas.job import ALLOWED_ACTIONS, TERMINAL, JobPage, JobState, JobView
from schemas.plan import Plan
from schemas.problems import RequestError
from schemas.webhooks import DeliveryPage

Until = Literal["terminal", "state", "epoch"]
Action = Literal["cancel", "stop", "pause", "resume"]

LONGEST_WAIT = 60.0
_PAGE = 1000
_STATE_EVENTS = frozenset(
    {
        "job.started",
        "run.finalizing",
        "job.pausing",
        "job.paused",
        "job.resumed",
        "job.stopping",
        "job.cancelling",
        "attempt.failed",
        "job.completed",
    }
)
_ORDERS = {"cancel": CANCEL, "stop": STOP, "pause": PAUSE}


class Workers(Protocol):
    """What the use cases need of the supervisor."""

    def wake(self) -> None:
        """There is a new job in the queue."""

    def devices(self) -> Mapping[str, tuple[int, int]]:
        """Kind of device -> (in use, all)."""

    async def give(self, job_id: str, order: Order) -> None:
        """Ask a job to cancel, stop or pause. Raises IllegalTransition where its state has no such way out."""

    async def resume(self, job_id: str) -> None:
        """Put a paused job back into the queue. Raises IllegalTransition."""


class Service:
    """Everything a client can ask. Methods raise Refusal for what cannot be granted, and nothing else on purpose."""

    def __init__(self, settings: Settings, store: Store, supervisor: Workers, followers: Followers) -> None:
        self.settings = settings
        self._store = store
        self._supervisor = supervisor
        self._followers = followers
        self._feeds = Feeds(store.events, followers)
        self._gate = Gate(settings)
        self._acceptance = Acceptance(settings, store, self._gate)
        self.disposal = Disposal(settings, store)
        self._closing = False

    async def submit(self, body: bytes, idempotency_key: str | None = None, operation: str = "create_job") -> Submitted:
        """Accept a job, durably; or find the one that came with this key. A refused one leaves nothing behind.
        ``operation`` is what the client called, and calls again with a mended input."""
        self._require_open()
        submitted = await asyncio.to_thread(self._acceptance.submit, body, idempotency_key, operation)
        if submitted.new:
            self._supervisor.wake()
        return submitted

    async def plan(self, body: bytes, depth: Depth) -> Plan:
        """What a request would do. Raises Refusal only for a body that is no JSON."""
        return await asyncio.to_thread(self._plan, body, depth)

    def _plan(self, body: bytes, depth: Depth) -> Plan:
        return plan_of(self._gate.examine(self._gate.read(body), depth), depth)

    async def row(self, job_id: str) -> JobRow:
        """The stored job. Raises Refusal (404) when there is none."""
        row = await asyncio.to_thread(self._store.get, job_id)
        if row is None:
            raise await asyncio.to_thread(not_there, self._store, job_id)
        return row

    async def delete(self, job_id: str) -> None:
        """Delete a job that has settled, with its folder; again changes nothing. Raises Refusal: 404, or 409 where it has
        not settled, or another job that has not goes on from it."""
        try:
            if await asyncio.to_thread(self.disposal.delete, job_id):
                return
        except IllegalTransition as refused:
            raise not_allowed(refused.row, "delete") from None
        except InUse as use:
            raise in_use(job_id, use) from None
        if await asyncio.to_thread(self._store.tombstones.get, job_id) is None:
            raise await asyncio.to_thread(not_there, self._store, job_id)

    async def view(self, row: JobRow, warnings: Sequence[RequestError] = ()) -> JobView:
        """The job as clients see it, with the ``warnings`` of its submission when this answers it."""
        position = await asyncio.to_thread(self._store.position, row.job_id) if row.state == "queued" else None
        view = view_of(row, position)
        return view.model_copy(update={"warnings": list(warnings)}) if warnings else view

    async def jobs(
        self, states: Sequence[JobState], label: tuple[str, str] | None, cursor: str | None, limit: int
    ) -> JobPage:
        """A page of jobs, newest first; ``nextCursor`` is there when there are more. Raises Refusal (422) for a cursor
        of which there is no job: an empty page would read as the end of the list."""
        if cursor is not None and await asyncio.to_thread(self._store.get, cursor) is None:
            raise Refusal("parameter_invalid", f"cursor is {cursor[:80]!r}; expected the nextCursor of a page before.")
        rows = await asyncio.to_thread(self._store.list, states=states, label=label, before=cursor, limit=limit + 1)
        views = [await self.view(row) for row in rows[:limit]]
        return JobPage(jobs=views, next_cursor=views[-1].job_id if len(rows) > limit else None)

    async def wait(self, job_id: str, until: Until, after: int | None, seconds: float) -> JobRow:
        """The job as soon as ``until`` holds, and at the latest after ``seconds``.

        ``state``: a change of state; ``epoch``: an epoch completed; both counted after event ``after`` (or from now),
        and both hold for a job that has settled.
        """
        deadline = time.monotonic() + seconds
        with self._followers.follow(job_id) as follower:
            row = first = await self.row(job_id)
            seen = first.last_seq if after is None else after
            while row.state not in TERMINAL and not self._closing:
                if until != "terminal":
                    news = await asyncio.to_thread(self._store.events, job_id, seen, _PAGE)
                    seen = news[-1].seq if news else seen
                    if _holds(until, news) or (until == "state" and row.state != first.state):
                        return row
                if not await follower.wait(max(0.0, deadline - time.monotonic())):
                    return await self.row(job_id)
                row = await self.row(job_id)
            return row

    async def follow(self, job_id: str, after: int) -> AsyncIterator[Sequence[Event]]:
        """Events with seq greater than ``after`` as they come, to ``job.completed``; none after each silence of
        ``keep_alive_seconds``. Ends early only when the service closes."""
        with self._followers.follow(job_id, "stream") as follower, self._feeds.of(job_id) as feed:
            while True:
                events = await feed.after(after)
                if events:
                    yield events
                    after = events[-1].seq
                    if events[-1].type == JobCompleted.event_type:
                        return
                elif await self._is_over(job_id, after):
                    return
                if len(events) < _PAGE and not await follower.wait(self.settings.keep_alive_seconds):
                    yield ()

    async def _is_over(self, job_id: str, after: int) -> bool:
        """Whether nothing will come for one who has seen ``after``."""
        if self._closing:
            return True
        row = await asyncio.to_thread(self._store.get, job_id)
        return row is None or (row.state in TERMINAL and row.last_seq <= after)

    async def events(self, job_id: str, after: int, limit: int) -> Sequence[Event]:
        """The stored events with seq greater than ``after``, at most ``limit``."""
        await self.row(job_id)
        return await asyncio.to_thread(self._store.events, job_id, after, limit)

    async def payload(self, row: JobRow) -> dict[str, Any] | None:
        """What the job returned, checked against the skill's output schema; None while it is active.

        This is the one door through which a payload leaves.
        """
        if row.payload is None:
            return None
        # A long learning curve takes a while to check; others are served meanwhile.
        flaws = await asyncio.to_thread(check, row.payload)
        if flaws:
            raise Refusal("internal", f"The payload of {row.job_id} breaks the output schema: {flaws[0][:200]}")
        return row.payload

    async def act(self, job_id: str, action: Action) -> JobRow:
        """Ask a job to cancel, stop, pause or resume; asking again changes nothing. Raises Refusal (409) where its state
        does not allow it."""
        await self.row(job_id)
        try:
            if action == "resume":
                await self._supervisor.resume(job_id)
            else:
                await self._supervisor.give(job_id, _ORDERS[action])
        except IllegalTransition as refused:
            raise not_allowed(refused.row, action) from None
        return await self.row(job_id)

    async def retry(self, job_id: str, key: str | None, *, anew: bool) -> Submitted:
        """A new job of the same request, that goes on from what this one has saved unless ``anew``. Raises Refusal: 409 for
        a job that has not failed, and as ``submit``."""
        row = await self.row(job_id)
        if "retry" not in ALLOWED_ACTIONS[row.state]:
            raise not_allowed(row, "retry")
        self._require_open()
        submitted = await asyncio.to_thread(self._acceptance.again, row, key, anew=anew)
        if submitted.new:
            self._supervisor.wake()
        return submitted

    async def deliveries(self, job_id: str) -> DeliveryPage:
        """The webhooks of a job, and how far each has come."""
        await self.row(job_id)
        rows = await asyncio.to_thread(self._store.deliveries.of_job, job_id)
        return DeliveryPage(deliveries=[view_of_delivery(row) for row in rows])

    async def log(self, job_id: str, lines: int) -> LogTail:
        """The last ``lines`` of the newest attempt's log."""
        row = await self.row(job_id)
        return await asyncio.to_thread(read_tail, self.settings.jobs, row.job_id, row.attempt, lines)

    async def snapshot(self) -> Snapshot:
        """What is so now, to be measured. A store that cannot be read is one of the things to be seen."""
        return await asyncio.to_thread(self._snapshot, self._supervisor.devices(), self._followers.counts())

    def _snapshot(self, devices: Mapping[str, tuple[int, int]], followers: Mapping[str, int]) -> Snapshot:
        jobs, active, webhooks = None, None, None
        with suppress(StoreUnavailable):
            jobs, active = self._store.counts(), self._store.active()
            webhooks = self._store.deliveries.pending()
        free = disk_usage(self.settings.home).free
        return Snapshot(jobs, active, devices, followers, free, self._closing, webhooks)

    async def require_ready(self) -> None:
        """Raises Refusal (503), or StoreUnavailable, unless jobs would be accepted now."""
        self._require_open()
        await asyncio.to_thread(self._store.queue, 1)

    def _require_open(self) -> None:
        if self._closing:
            raise Refusal("unavailable", "The service is closing.", headers={"Retry-After": "5"})

    def closing(self) -> bool:
        """Whether it takes no more jobs."""
        return self._closing

    def close(self) -> None:
        """Take no more jobs, and end every wait and every stream now; trainings go on, and questions are answered."""
        self._closing = True
        self._followers.wake()


def _holds(until: Until, news: Sequence[Event]) -> bool:
    types = {event.type for event in news}
    return not types.isdisjoint(_STATE_EVENTS) if until == "state" else "epoch.completed" in types
