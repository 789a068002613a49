"""What a store of jobs promises. Callers know this interface; only what stands beside it speaks SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.store.token_interface import TokenStore
from schemas.events import Event, EventData, WorkerLine
from schemas.job import JobState, Progress
from schemas.problems import Tombstone
from schemas.webhooks import DeliveryState


@dataclass(frozen=True)
class NewJob:
    """A job to be accepted."""

    job_id: str
    request: dict[str, Any]
    input_sha256: str
    engine: str
    labels: dict[str, str]
    devices: int
    idempotency_key: str | None
    model_sha256: str
    git_commit: str | None
    notify: Sequence[Mapping[str, Any]] = ()
    traceparent: str | None = None


@dataclass(frozen=True)
class JobRow:
    """A job as stored. Times are RFC 3339, UTC."""

    job_id: str
    state: JobState
    reason_code: str | None
    reason_message: str | None
    request: dict[str, Any]
    input_sha256: str
    model_sha256: str
    git_commit: str | None
    engine: str
    labels: dict[str, str]
    devices: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    attempt: int
    last_seq: int
    progress: Progress
    payload: dict[str, Any] | None
    assigned: tuple[str, ...] = field(default=())
    notify: tuple[Mapping[str, Any], ...] = ()
    """Targets of webhooks: ``url`` and ``events`` of each, and ``everyJob`` where it is the service that names it."""
    traceparent: str | None = None
    """The request that the job came with, as W3C Trace Context spells it, when it was traced."""
    rests_until: str | None = None


class StoreUnavailable(Exception):
    """The store cannot be used now (disk full, locked) or by this release; the message says which. Nothing was changed."""


class StoreBroken(StoreUnavailable):
    """The store is damaged, or is not there any more: waiting does not help, and the message says what does."""


class KeyConflict(Exception):
    """The idempotency key was used before, with another body; ``job_id`` is that job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


class KeyOfDeleted(Exception):
    """The idempotency key came before, with this input, for a job that was deleted since."""

    def __init__(self, tombstone: Tombstone) -> None:
        super().__init__(tombstone.job_id)
        self.tombstone = tombstone


class InUse(Exception):
    """A job that has not ended names the job, or files of it, in its request, or goes on from it by way of others; ``job_id`` is
    that other one."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


class IllegalTransition(Exception):
    """The job is in a state from which this is not allowed."""

    def __init__(self, row: JobRow, wanted: JobState) -> None:
        super().__init__(f"{row.job_id} is {row.state}, not to be {wanted}")
        self.row = row


@dataclass(frozen=True)
class DeliveryRow:
    """One event on its way to one URL."""

    delivery_id: str
    job_id: str
    seq: int
    type: str
    url: str
    state: DeliveryState
    attempts: int
    created_at: str
    next_at: str | None
    finished_at: str | None
    status: int | None
    error: str | None


class DeliveryStore(Protocol):
    """The outbox: what targets of jobs are to be told. It is filled in the transactions that store the events."""

    def due(self, time: str, limit: int) -> Sequence[DeliveryRow]:
        """Pending ones whose time has come at ``time``, the oldest first."""

    def next_after(self, time: str) -> str | None:
        """When the first of those is due that are not due at ``time``."""

    def taken(self, delivery_id: str, status: int) -> None:
        """The receiver has it."""

    def later(self, delivery_id: str, status: int | None, error: str | None, seconds: float) -> None:
        """An attempt was in vain; the next is in so many seconds."""

    def given_up(self, row: DeliveryRow, status: int | None, error: str | None) -> int:
        """The last attempt was in vain: this one has failed, and with it what else is pending, or will come, for the same
        job and URL. How many these are now."""

    def of_job(self, job_id: str) -> Sequence[DeliveryRow]:
        """All of a job, by their events."""

    def pending(self) -> int:
        """How many are on their way."""


class Observer(Protocol):
    """Whoever wants to know what the store has stored. Called after the commit, in the thread that wrote; quick, and
    never raises."""

    def told(self, row: JobRow, events: Sequence[Event]) -> None:
        """``events`` of the job are stored; ``row`` is the job as that transaction found it."""

    def committed(self, seconds: float) -> None:
        """A transaction is on disk, so long after it was asked for."""


class Unobserved:
    """Nobody wants to know."""

    def told(self, row: JobRow, events: Sequence[Event]) -> None:
        """Nothing."""

    def committed(self, seconds: float) -> None:
        """Nothing."""


class TombstoneStore(Protocol):
    """Jobs that were deleted. Every method is one transaction, durable when it returns, safe from any thread."""

    def bury(self, job_id: str) -> bool:
        """Delete a settled job with all that was said of it, and leave a tombstone; False when there is no such job.

        Raises IllegalTransition for a job that has not settled, InUse for one that such a job goes on from, be it by way of
        others.
        """

    def get(self, job_id: str) -> Tombstone | None:
        """What is known of a job that was deleted; None when there was none."""

    def settled(self) -> Sequence[tuple[str, str]]:
        """Id and end of every job that has settled and is there, the newest first."""


class Store(Protocol):
    """Jobs and their events. Every method is one transaction, durable when it returns, safe from any thread."""

    @property
    def tokens(self) -> TokenStore:
        """The tokens that are stored beside the jobs."""

    @property
    def deliveries(self) -> DeliveryStore:
        """The outbox."""

    @property
    def tombstones(self) -> TombstoneStore:
        """What is left of jobs that were deleted."""

    def accept(self, job: NewJob) -> tuple[JobRow, bool]:
        """Store a job as queued with its event 0. With a key seen before and the same input: that job, and False.

        Raises KeyConflict when the key was used with another input, KeyOfDeleted when its job was deleted since.
        """

    def get(self, job_id: str) -> JobRow | None:
        """The job, or None."""

    def ids(self) -> frozenset[str]:
        """The ids of all jobs."""

    def of_key(self, idempotency_key: str) -> JobRow | None:
        """The job that came with this key, or None."""

    def list(
        self,
        *,
        states: Sequence[JobState] = (),
        label: tuple[str, str] | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Sequence[JobRow]:
        """Jobs, newest first, older than the job id ``before``."""

    def queued(self) -> int:
        """How many jobs wait in the queue."""

    def position(self, job_id: str) -> int:
        """Jobs ahead of this one in the queue."""

    def claim(self, job_id: str, assigned: Sequence[str]) -> JobRow | None:
        """Take a queued job for a new attempt (queued to preparing, attempt + 1), or None when it is taken or gone."""

    def queue(self, limit: int, *, only: Sequence[str] = (), but: Sequence[str] = ()) -> Sequence[JobRow]:
        """Queued jobs, oldest first: of the engines ``only``, when there are any, and of none of the engines ``but``."""

    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state in which there are any."""

    def active(self) -> Sequence[JobRow]:
        """Jobs that have a worker, or had one when the service died."""

    def offset(self, job_id: str, attempt: int) -> int:
        """Bytes of the attempt's event file already stored."""

    def ingest(self, job_id: str, attempt: int, lines: Sequence[WorkerLine], offset: int) -> Sequence[Event]:
        """Store a worker's lines and the offset after them, and apply the transitions they imply.

        Nothing is stored for an attempt that is no longer the job's (the fence), or for a settled job.
        """

    def say(
        self,
        job_id: str,
        data: EventData,
        *,
        state: JobState | None = None,
        from_state: JobState | None = None,
        reason: tuple[str, str] | None = None,
    ) -> Event:
        """Store an event of the service and, in the same transaction, a transition, from ``from_state`` alone where that is
        named. Raises IllegalTransition."""

    def resting(self) -> Sequence[JobRow]:
        """Queued jobs that were given a rest (``rests_until``, over or not) and have not been claimed since."""

    def release(
        self,
        job_id: str,
        attempt: int,
        state: JobState,
        data: EventData,
        reason: tuple[str, str] | None,
        rests_until: str | None = None,
    ) -> bool:
        """Take a job from its attempt without a result: into the queue again, or to be paused; ``data`` says why.

        False when the fence has moved on, or its state does not allow it.
        """

    def settle(
        self, job_id: str, attempt: int, state: JobState, payload: dict[str, Any], reason: tuple[str, str] | None
    ) -> bool:
        """Record the result and job.completed, once; False when the job is settled already or the fence has moved on."""

    def events(self, job_id: str, after: int, limit: int = 1000) -> Sequence[Event]:
        """Events with seq greater than ``after``, in order."""

    def close(self) -> None:
        """Release the files."""
