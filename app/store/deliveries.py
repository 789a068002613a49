"""Deliveries of webhooks in SQLite. Promises what ``app.store.interface.DeliveryStore`` says."""

import sqlite3
from collections.abc import Sequence
from dataclasses import fields

from ulid import ULID

from app.clock import from_now, now
from app.store.database import Database
from app.store.interface import DeliveryRow, JobRow
from app.store.statements import statements
from schemas.events import Event

_SQL = statements("deliveries.sql")

# A worker that talks without end does not write to others without end.
_MOST_PER_JOB = 1000


def put(connection: sqlite3.Connection, row: JobRow, events: Sequence[Event]) -> None:
    """Into the outbox, what the targets of the job are to be told of ``events``: part of the open transaction."""
    for event in events:
        for target in row.notify:
            if event.type in target["events"]:
                values = {
                    "delivery_id": f"msg_{ULID()}",
                    "job_id": row.job_id,
                    "seq": event.seq,
                    "type": event.type,
                    "url": target["url"],
                    "time": now(),
                    "most": _MOST_PER_JOB,
                }
                connection.execute(_SQL["insert"], values)


class SqliteDeliveries:
    """The rows of the table ``delivery``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, time: str, limit: int) -> Sequence[DeliveryRow]:
        """Pending ones whose time has come at ``time``, the oldest first."""
        with self._database.reading() as connection:
            found = connection.execute(_SQL["due"], {"time": time, "limit": limit})
            return [_delivery_of(row) for row in found.fetchall()]

    def next_after(self, time: str) -> str | None:
        """When the first of those is due that are not due at ``time``."""
        with self._database.reading() as connection:
            found: str | None = connection.execute(_SQL["next_after"], {"time": time}).fetchone()[0]
            return found

    def taken(self, delivery_id: str, status: int) -> None:
        """The receiver has it."""
        self._record(delivery_id, "delivered", status, None, None)

    def later(self, delivery_id: str, status: int | None, error: str | None, seconds: float) -> None:
        """An attempt was in vain; the next is in so many seconds."""
        self._record(delivery_id, "pending", status, error, from_now(seconds))

    def given_up(self, row: DeliveryRow, status: int | None, error: str | None) -> int:
        """The last attempt was in vain: this one has failed, and with it what else is pending, or will come, for the same
        job and URL. How many these are now."""
        self._record(row.delivery_id, "failed", status, error, None)
        values = {"job_id": row.job_id, "url": row.url, "time": now(), "error": "Not sent: an earlier one failed."}
        with self._database.writing() as connection:
            return 1 + connection.execute(_SQL["give_up"], values).rowcount

    def of_job(self, job_id: str) -> Sequence[DeliveryRow]:
        """All of a job, by their events."""
        with self._database.reading() as connection:
            return [_delivery_of(row) for row in connection.execute(_SQL["of_job"], {"job_id": job_id}).fetchall()]

    def pending(self) -> int:
        """How many are on their way."""
        with self._database.reading() as connection:
            return int(connection.execute(_SQL["pending"]).fetchone()[0])

    def _record(self, delivery_id: str, state: str, status: int | None, error: str | None, next_at: str | None) -> None:
        values = {
            "delivery_id": delivery_id,
            "state": state,
            "status": status,
            "error": error,
            "next_at": next_at,
            "finished_at": None if state == "pending" else now(),
        }
        with self._database.writing() as connection:
            connection.execute(_SQL["record"], values)


def _delivery_of(row: sqlite3.Row) -> DeliveryRow:
    return DeliveryRow(**{column.name: row[column.name] for column in fields(DeliveryRow)})
