"""Settlement: an outcome and the events so far become the payload, checked, recorded once."""

import logging
from collections.abc import Iterator

from app.store.interface import JobRow, Store
from app.supervision.payload import check, fold
from app.supervision.verdict import training_error
from schemas.assignment import Outcome
from schemas.events import Event
from schemas.result import JobPayload

_PAGE = 1000
_log = logging.getLogger(__name__)


def settle(store: Store, row: JobRow, outcome: Outcome) -> bool:
    """Record how the job of ``row`` ended; False when it was settled before, or its attempt is no longer the newest."""
    payload = fold(events_of(store, row.job_id), outcome, row)
    flaws = check(payload.to_json())
    if flaws:
        _log.error("%s: payload refused by the output schema: %s", row.job_id, flaws)
        error = training_error("internal", "The result could not be written as its schema asks.", "\n".join(flaws))
        return settle_unheard(store, row, Outcome(state="failed", error=error))
    return _record(store, row, outcome, payload)


def settle_unheard(store: Store, row: JobRow, outcome: Outcome) -> bool:
    """As ``settle``, with a payload in which nothing that the worker said plays a part."""
    return _record(store, row, outcome, fold([], outcome, row))


def _record(store: Store, row: JobRow, outcome: Outcome, payload: JobPayload) -> bool:
    reason = (payload.error.code, payload.error.message) if payload.error else None
    return store.settle(row.job_id, row.attempt, outcome.state, payload.to_json(), reason)


def events_of(store: Store, job_id: str) -> Iterator[Event]:
    """All that was said of a job, page by page."""
    after = -1
    while page := store.events(job_id, after, _PAGE):
        yield from page
        after = page[-1].seq
