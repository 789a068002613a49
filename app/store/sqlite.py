"""The store in SQLite: one file, one writer, every method one durable transaction."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from app.clock import now
from app.store.bounds import within_bounds
from app.store.database import Database, Writer
from app.store.deliveries import SqliteDeliveries, put
from app.store.interface import IllegalTransition, JobRow, KeyConflict, NewJob, Observer
from app.store.lines import typed_line
from app.store.progress import advance
from app.store.rows import event_of, event_values, job_of, job_values, to_text
from app.store.statements import statements
from app.store.tokens import SqliteTokens
from app.store.tombstones import SqliteTombstones, refuse_key_of_deleted
from schemas.events import Event, EventData, JobCompleted, JobQueued, WorkerLine
from schemas.job import ACTIVE, IMPLIED_BY_EVENT, TERMINAL, TRANSITIONS, JobState, Progress

_SQL = statements("queries.sql")

_ACTIVE = to_text(sorted(ACTIVE))
_SOURCES: dict[JobState, str] = {
    wanted: to_text([state for state, reachable in TRANSITIONS.items() if wanted in reachable])
    for wanted in get_args(JobState)
}


class SqliteStore:
    """Jobs and their events in the SQLite file at ``path``. Promises what ``app.store.interface.Store`` says."""

    def __init__(self, path: Path, observer: Observer | None = None) -> None:
        self._database = Database(path, observer)
        self.tokens = SqliteTokens(self._database)
        self.deliveries = SqliteDeliveries(self._database)
        self.tombstones = SqliteTombstones(self._database)

    def accept(self, job: NewJob) -> tuple[JobRow, bool]:
        """Store a job as queued with its event 0, or find the one that came with the same key."""
        with self._database.writing() as connection:
            if job.idempotency_key is not None:
                seen = _one(connection, "job_of_key", idempotency_key=job.idempotency_key)
                if seen is not None:
                    if seen.input_sha256 != job.input_sha256:
                        raise KeyConflict(seen.job_id)
                    return seen, False
                refuse_key_of_deleted(connection, job.idempotency_key, job.input_sha256)
            time = now()
            connection.execute(_SQL["insert_job"], job_values(job, time))
            position = connection.execute(_SQL["position"], {"job_id": job.job_id}).fetchone()[0]
            row = _known(connection, job.job_id)
            _append(connection, row, [(JobQueued(position=position), time)])
            return _known(connection, job.job_id), True

    def get(self, job_id: str) -> JobRow | None:
        """The job, or None."""
        with self._database.reading() as connection:
            return _one(connection, "job", job_id=job_id)

    def ids(self) -> frozenset[str]:
        """The ids of all jobs."""
        with self._database.reading() as connection:
            return frozenset(row["job_id"] for row in connection.execute(_SQL["ids"]).fetchall())

    def of_key(self, idempotency_key: str) -> JobRow | None:
        """The job that came with this key, or None."""
        with self._database.reading() as connection:
            return _one(connection, "job_of_key", idempotency_key=idempotency_key)

    def list(
        self,
        *,
        states: Sequence[JobState] = (),
        label: tuple[str, str] | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Sequence[JobRow]:
        """Jobs, newest first, older than the job id ``before``."""
        name, value = label or (None, None)
        with self._database.reading() as connection:
            return _all(
                connection,
                "jobs",
                states=to_text(states),
                label_name=name,
                label_value=value,
                before=before,
                limit=limit,
            )

    def queued(self) -> int:
        """How many jobs wait in the queue."""
        with self._database.reading() as connection:
            count: int = connection.execute(_SQL["queued"]).fetchone()[0]
            return count

    def position(self, job_id: str) -> int:
        """Jobs ahead of this one in the queue; 0 when it is not queued."""
        with self._database.reading() as connection:
            count: int = connection.execute(_SQL["position"], {"job_id": job_id}).fetchone()[0]
            return count

    def queue(self, limit: int, *, only: Sequence[str] = (), but: Sequence[str] = ()) -> Sequence[JobRow]:
        """Queued jobs, oldest first: of the engines ``only``, when there are any, and of none of the engines ``but``."""
        engines = {"only": to_text(list(only)), "but": to_text(list(but))}
        with self._database.reading() as connection:
            return _all(connection, "oldest", states='["queued"]', limit=limit, **engines)

    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state in which there are any."""
        with self._database.reading() as connection:
            return dict(connection.execute(_SQL["counts"]).fetchall())

    def active(self) -> Sequence[JobRow]:
        """Jobs that have a worker, or had one when the service died; oldest first."""
        with self._database.reading() as connection:
            return _all(connection, "oldest", states=_ACTIVE, limit=-1, only="[]", but="[]")

    def resting(self) -> Sequence[JobRow]:
        """Queued jobs that were given a rest and have not been claimed since."""
        with self._database.reading() as connection:
            return _all(connection, "resting")

    def claim(self, job_id: str, assigned: Sequence[str]) -> JobRow | None:
        """Take a queued job for a new attempt, or None when it is taken or gone."""
        with self._database.writing() as connection:
            row = _change(connection, "claim", "preparing", job_id=job_id, assigned=to_text(assigned), time=now())
            if row is not None:
                connection.execute(_SQL["insert_attempt"], {"job_id": job_id, "attempt": row.attempt})
            return row

    def offset(self, job_id: str, attempt: int) -> int:
        """Bytes of the attempt's event file already stored."""
        with self._database.reading() as connection:
            found = connection.execute(_SQL["offset"], {"job_id": job_id, "attempt": attempt}).fetchone()
            return 0 if found is None else int(found[0])

    def ingest(self, job_id: str, attempt: int, lines: Sequence[WorkerLine], offset: int) -> Sequence[Event]:
        """Store a worker's lines and the offset after them, and apply the transitions they imply.

        Nothing is stored for an older attempt (the fence), for a settled job, or for an offset already passed; and of
        a worker that talks without end only what ``app.store.bounds`` says.
        """
        said = [typed_line(line) for line in lines]
        with self._database.writing() as connection:
            row = _known(connection, job_id)
            place = {"job_id": job_id, "attempt": attempt}
            if row.attempt != attempt or row.state in TERMINAL:
                return []
            before = connection.execute(_SQL["offset"], place).fetchone()[0]
            if offset <= before:
                return []
            connection.execute(_SQL["record_offset"], {**place, "read_offset": offset})
            events = _append(connection, row, within_bounds(said, before, offset))
            for event in events:
                wanted = IMPLIED_BY_EVENT.get(event.type)
                if wanted is not None:
                    # None when it comes too late (a cancel has been asked for meanwhile): it changes nothing.
                    _change(connection, "move", wanted, job_id=job_id, **_reason(None))
            return events

    def say(
        self,
        job_id: str,
        data: EventData,
        *,
        state: JobState | None = None,
        from_state: JobState | None = None,
        reason: tuple[str, str] | None = None,
    ) -> Event:
        """Store an event of the service and, in the same transaction, a transition, from ``from_state`` alone where that
        is named. Raises IllegalTransition.

        A settled job takes no more events, and settling is left to ``settle``, which has the payload.
        """
        assert state not in TERMINAL
        with self._database.writing() as connection:
            row = _known(connection, job_id)
            if row.state in TERMINAL or row.state != (from_state or row.state):
                raise IllegalTransition(row, state or row.state)
            if state is not None and not _change(connection, "move", state, job_id=job_id, **_reason(reason)):
                raise IllegalTransition(row, state)
            return _append(connection, row, [(data, now())])[0]

    def release(
        self,
        job_id: str,
        attempt: int,
        state: JobState,
        data: EventData,
        reason: tuple[str, str] | None,
        rests_until: str | None = None,
    ) -> bool:
        """Take a job from its attempt without a result; False when the fence or its state forbids."""
        with self._database.writing() as connection:
            news = {"rests_until": rests_until, **_reason(reason)}
            row = _change(connection, "release", state, job_id=job_id, attempt=attempt, **news)
            if row is None:
                return False
            _append(connection, row, [(data, now())])
            return True

    def settle(
        self, job_id: str, attempt: int, state: JobState, payload: dict[str, Any], reason: tuple[str, str] | None
    ) -> bool:
        """Record the result and job.completed, once; False when the job is settled already or the fence has moved on.

        Raises IllegalTransition when the job could not have ended so (a queued job has not succeeded).
        """
        assert state in TERMINAL
        values = {"payload": to_text(payload), "time": now(), **_reason(reason)}
        with self._database.writing() as connection:
            row = _change(connection, "settle", state, job_id=job_id, attempt=attempt, **values)
            if row is None:
                row = _known(connection, job_id)
                if row.state in TERMINAL or row.attempt != attempt:
                    return False
                raise IllegalTransition(row, state)
            completed = Event(
                seq=row.last_seq + 1,
                type=JobCompleted.event_type,
                time=values["time"],
                job_id=job_id,
                attempt=attempt,
                data={"state": state, "output": payload},
            )
            _write(connection, row, [completed])
            return True

    def events(self, job_id: str, after: int, limit: int = 1000) -> Sequence[Event]:
        """Events with seq greater than ``after``, in order."""
        with self._database.reading() as connection:
            found = connection.execute(_SQL["events"], {"job_id": job_id, "after": after, "limit": limit})
            return [event_of(row) for row in found.fetchall()]

    def close(self) -> None:
        """Release the files."""
        self._database.close()


def _one(connection: sqlite3.Connection, statement: str, **values: object) -> JobRow | None:
    rows = _all(connection, statement, **values)
    return rows[0] if rows else None


def _all(connection: sqlite3.Connection, statement: str, **values: object) -> list[JobRow]:
    return [job_of(row) for row in connection.execute(_SQL[statement], values).fetchall()]


def _known(connection: sqlite3.Connection, job_id: str) -> JobRow:
    row = _one(connection, "job", job_id=job_id)
    if row is None:
        raise LookupError(f"There is no job {job_id}.")
    return row


def _reason(reason: tuple[str, str] | None) -> dict[str, str | None]:
    code, message = reason or (None, None)
    return {"reason_code": code, "reason_message": message}


def _change(connection: sqlite3.Connection, statement: str, state: JobState, **values: object) -> JobRow | None:
    """Bring a job to ``state`` if the table of transitions allows it; the job as it is then, or None.

    The one place where a state changes: one UPDATE that looks and acts at once.
    """
    return _one(connection, statement, state=state, sources=_SOURCES[state], **values)


def _append(connection: Writer, row: JobRow, said: Sequence[tuple[EventData, str]]) -> Sequence[Event]:
    """Give events their numbers and store them, with the progress that they report."""
    events = []
    progress = row.progress
    for seq, (data, time) in enumerate(said, start=row.last_seq + 1):
        progress = advance(progress, data)
        events.append(
            Event(
                seq=seq,
                type=data.event_type,
                time=time,
                job_id=row.job_id,
                attempt=row.attempt,
                data=data.to_json(),
            )
        )
    _write(connection, row, events, progress)
    return events


def _write(connection: Writer, row: JobRow, events: Sequence[Event], progress: Progress | None = None) -> None:
    connection.executemany(_SQL["insert_event"], [event_values(event) for event in events])
    news = {
        "job_id": row.job_id,
        "last_seq": row.last_seq + len(events),
        "progress": to_text((progress or row.progress).to_json()),
    }
    connection.execute(_SQL["record_news"], news)
    put(connection, row, events)
    connection.news.append((row, list(events)))
