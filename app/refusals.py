"""What clients are told of jobs that are not there, or not in a state for what was asked."""

from app.gate.spellings import closest
from app.job_view import next_action_of
from app.problems import Refusal
from app.store.interface import InUse, JobRow, Store
from schemas.job import ALLOWED_ACTIONS, TERMINAL
from schemas.problems import NextAction, Tombstone

# Of the newest jobs, those in which a mistyped id is looked for.
_SUGGESTED_FROM = 200
_DONE = {
    "cancel": "cancelled",
    "stop": "stopped",
    "pause": "paused",
    "resume": "resumed",
    "retry": "tried again",
    "delete": "deleted",
}


def not_there(store: Store, job_id: str) -> Refusal:
    """410 for a job that was deleted; 404, with the nearest id there is, for one that nobody knows."""
    tombstone = store.tombstones.get(job_id)
    if tombstone is not None:
        return deleted(tombstone)
    known = [row.job_id for row in store.list(limit=_SUGGESTED_FROM)]
    near = closest(job_id, known, cutoff=0.8)
    detail = f"There is no job {job_id[:80]!r} here."
    if near is None:
        move, hint = NextAction(operation="list_jobs"), " List them with GET /v1/jobs."
    else:
        move, hint = NextAction(operation="get_job", arguments={"jobId": near}), f" The nearest is {near}."
    return Refusal("job_not_found", detail + hint, next_action=move)


def deleted(tombstone: Tombstone, key: str | None = None) -> Refusal:
    """410, with what is known of a job that was deleted; ``key`` when a submission has led there."""
    detail = f"{tombstone.job_id} ({tombstone.state} at {tombstone.finished_at}) was deleted at {tombstone.deleted_at}."
    if key is not None:
        detail = f"The idempotency key {key!r} is that of a job before. {detail} To train again, use a new key."
    move = NextAction(operation="list_jobs" if key is None else "create_job")
    return Refusal("job_deleted", detail, next_action=move, tombstone=tombstone)


def key_conflict(job_id: str, key: str | None) -> Refusal:
    """422 for a key that came with another input."""
    detail = f"The idempotency key {key!r} came with another input before, for {job_id}. Use a new key."
    move = NextAction(operation="get_job", arguments={"jobId": job_id})
    return Refusal("idempotency_conflict", detail, next_action=move)


def not_allowed(row: JobRow, action: str) -> Refusal:
    """The 409 that names what is possible instead."""
    what = f"has ended ({row.state})" if row.state in TERMINAL else f"is {row.state}"
    detail = f"{row.job_id} {what} and cannot be {_DONE[action]}."
    allowed = list(ALLOWED_ACTIONS[row.state])
    return Refusal("action_not_allowed", detail, allowed_actions=allowed, next_action=next_action_of(row))


def in_use(job_id: str, use: InUse) -> Refusal:
    """The 409 of a job that another goes on from."""
    detail = (
        f"{use.job_id}, which has not ended, names {job_id} in its request, or goes on from it by way of other jobs."
    )
    move = NextAction(operation="get_job", arguments={"jobId": use.job_id, "wait": 60, "until": "terminal"})
    return Refusal("action_not_allowed", detail, allowed_actions=[], next_action=move)
