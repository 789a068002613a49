"""The deliverer: takes from the outbox what is due, and sends it, a few at a time, until it was taken or given up.

At least once: a service that is killed between an answer and its being written down sends again, under the same id.
In no order that is promised: what fails waits, and what comes after it does not.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from app.clock import now, seconds_until
from app.store.interface import DeliveryRow, IllegalTransition, JobRow, Store, StoreUnavailable
from app.webhooks.message import body_of
from app.webhooks.schedule import seconds_to_next
from app.webhooks.secret import Secrets
from app.webhooks.sending import Answer, Sender
from app.webhooks.signing import headers_of
from schemas.events import Alert, Event
from schemas.job import TERMINAL
from schemas.webhooks import Sent

_AT_ONCE = 8
_AT_ONCE_PER_HOST = 2
_LOOKED_AT = 200
_RETRY_SECONDS = 5.0
# The receiver says that nobody lives there any more.
_GONE = 410
_log = logging.getLogger(__name__)


class Deliverer:
    """Sends what the store's outbox holds. ``told`` may be called from any thread; all else from the event loop's."""

    def __init__(
        self, store: Store, sender: Sender, secrets: Secrets, first_wait: float, counted: Callable[[Sent], None]
    ) -> None:
        self._store = store
        self._sender = sender
        self._secrets = secrets
        self._first_wait = first_wait
        self._counted = counted
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    def start(self, notify: Callable[[str], None]) -> None:
        """Begin, with what an earlier service left. ``notify`` tells the followers of a job that there is news of it."""
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop sending. What was under way is sent again by the next service."""
        for task in (self._running, *self._tasks):
            task.cancel()
        await asyncio.gather(self._running, *self._tasks, return_exceptions=True)
        await self._sender.close()

    def told(self, row: JobRow, events: Sequence[Event]) -> None:
        """There may be something in the outbox."""
        if row.notify and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def committed(self, seconds: float) -> None:
        """Nothing to send for that."""

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                wait = await self._begin_due()
            except StoreUnavailable as error:
                _log.warning("Webhooks wait %g s: %s", _RETRY_SECONDS, error)
                wait = _RETRY_SECONDS
            try:
                await asyncio.wait_for(self._news.wait(), wait)
            except TimeoutError:
                continue

    async def _begin_due(self) -> float | None:
        """Begin with what is due, as far as there is room; seconds until more will be. What had no room begins at the end of
        another."""
        moment = now()
        # One that is written down as done while the store is read would be read as it was before, and be sent once more.
        skipped = set(self._under_way)
        for row in await asyncio.to_thread(self._store.deliveries.due, moment, _LOOKED_AT):
            hosts = Counter(self._under_way.values())
            host = urlsplit(row.url).netloc
            if len(self._under_way) >= _AT_ONCE:
                break
            if row.delivery_id in skipped or hosts[host] >= _AT_ONCE_PER_HOST:
                continue
            self._begin(row, host)
        next_at = await asyncio.to_thread(self._store.deliveries.next_after, moment)
        return None if next_at is None else max(0.0, seconds_until(next_at))

    def _begin(self, row: DeliveryRow, host: str) -> None:
        self._under_way[row.delivery_id] = host
        task = asyncio.create_task(self._deliver(row))
        self._tasks.add(task)

        def at_end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            del self._under_way[row.delivery_id]
            self._news.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("a delivery met an unexpected error", exc_info=error)

        task.add_done_callback(at_end)

    async def _deliver(self, row: DeliveryRow) -> None:
        body = await asyncio.to_thread(self._body, row)
        if body is None:
            return
        secrets = await asyncio.to_thread(self._secrets.in_force)
        headers = headers_of(secrets, row.delivery_id, int(time.time()), body)
        answer = await self._sender.post(row.url, body, headers)
        while True:
            try:
                if await asyncio.to_thread(self._record, row, answer):
                    self._notify(row.job_id)
                return
            except StoreUnavailable as error:
                # Not sent again for that: it is the store that is in want, not the receiver.
                _log.warning("%s: writing down an answer waits %g s: %s", row.delivery_id, _RETRY_SECONDS, error)
                await asyncio.sleep(_RETRY_SECONDS)

    def _body(self, row: DeliveryRow) -> bytes | None:
        """None for a job that was removed this moment, and its deliveries with it."""
        job, events = self._store.get(row.job_id), self._store.events(row.job_id, row.seq - 1, 1)
        return None if job is None or not events else body_of(job, events[0])

    def _record(self, row: DeliveryRow, answer: Answer) -> bool:
        """Write down how it went; whether the job's events say so, too."""
        attempts = row.attempts + 1
        if answer.taken:
            assert answer.status is not None
            self._store.deliveries.taken(row.delivery_id, answer.status)
            self._counted("delivered")
            _say(logging.INFO, row, attempts, answer, "delivered")
            return False
        wait = None if answer.status == _GONE else seconds_to_next(attempts, self._first_wait, answer.retry_after)
        if wait is not None:
            self._store.deliveries.later(row.delivery_id, answer.status, answer.error, wait)
            self._counted("tried_again")
            _say(logging.WARNING, row, attempts, answer, f"tried again in {wait:.0f} s")
            return False
        lost = self._store.deliveries.given_up(row, answer.status, answer.error)
        self._counted("failed")
        _say(logging.ERROR, row, attempts, answer, f"given up; {lost} deliveries of the job to this URL have failed")
        return self._alert(row, attempts)

    def _alert(self, row: DeliveryRow, attempts: int) -> bool:
        """In the job's events, where it still takes any; whether it does."""
        job = self._store.get(row.job_id)
        if job is None or job.state in TERMINAL:
            return False
        alert = Alert(
            code="webhook_failed",
            level="warning",
            message=f"A webhook of {row.type} was not taken in {attempts} attempts; its URL gets nothing more of this job.",
            evidence={"deliveryId": row.delivery_id, "host": urlsplit(row.url).netloc},
            remedy="See the job's deliveries for what the receiver answered.",
        )
        try:
            self._store.say(row.job_id, alert)
        except IllegalTransition:
            _log.info("%s has ended meanwhile; its alert webhook_failed is in this log alone", row.job_id)
            return False
        return True


def _say(level: int, row: DeliveryRow, attempts: int, answer: Answer, what: str) -> None:
    """The host, and never the URL, whose path and query may be a secret; nor the receiver's own words."""
    host = urlsplit(row.url).netloc
    how = f"answered {answer.status}" if answer.status is not None else "no answer"
    fields = {
        "jobId": row.job_id,
        "deliveryId": row.delivery_id,
        "event": row.type,
        "host": host,
        "attempts": attempts,
        "status": answer.status,
    }
    text = f"{row.job_id}: webhook {row.type} to {host}, attempt {attempts}, {how}: {what}"
    _log.log(level, "%s", text, extra={"fields": fields})
