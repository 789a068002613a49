"""Deleted jobs in SQLite. Promises what ``app.store.interface.TombstoneStore`` says."""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from app.clock import now
from app.store.database import Database
from app.store.interface import IllegalTransition, InUse, JobRow, KeyConflict, KeyOfDeleted
from app.store.origins import origins_of
from app.store.rows import job_of, to_text
from app.store.statements import statements
from schemas.job import TERMINAL
from schemas.problems import Tombstone

_SQL = statements("tombstones.sql")
_TERMINAL = to_text(sorted(TERMINAL))


class SqliteTombstones:
    """The rows of the table ``tombstone``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bury(self, job_id: str) -> bool:
        """Delete a settled job with all that was said of it, and leave a tombstone; False when there is no such job.

        Raises IllegalTransition for a job that has not settled, InUse for one that such a job goes on from, be it by way of
        others.
        """
        place = {"job_id": job_id}
        with self._database.writing() as connection:
            found = connection.execute(_SQL["job"], place).fetchone()
            if found is None:
                return False
            row = job_of(found)
            if row.state not in TERMINAL:
                raise IllegalTransition(row, row.state)
            if (user := _user(connection, job_id)) is not None:
                raise InUse(user)
            digest = {"payload_sha256": _hash_of(row.payload), "time": now()}
            connection.execute(_SQL["insert"], {**place, **digest})
            for statement in ("delete_events", "delete_attempts", "delete_job"):
                connection.execute(_SQL[statement], place)
            return True

    def get(self, job_id: str) -> Tombstone | None:
        """What is known of a job that was deleted; None when there was none."""
        with self._database.reading() as connection:
            found = connection.execute(_SQL["tombstone"], {"job_id": job_id}).fetchone()
            return None if found is None else _tombstone_of(found)

    def settled(self) -> Sequence[tuple[str, str]]:
        """Id and end of every job that has settled and is there, the newest first."""
        with self._database.reading() as connection:
            return [tuple(row) for row in connection.execute(_SQL["settled"], {"terminal": _TERMINAL}).fetchall()]


def refuse_key_of_deleted(connection: sqlite3.Connection, idempotency_key: str, input_sha256: str) -> None:
    """Raises KeyOfDeleted, or KeyConflict where the input was another, for a key that a deleted job came with."""
    found = connection.execute(_SQL["tombstone_of_key"], {"idempotency_key": idempotency_key}).fetchone()
    if found is not None:
        tombstone = _tombstone_of(found)
        raise KeyOfDeleted(tombstone) if tombstone.input_sha256 == input_sha256 else KeyConflict(tombstone.job_id)


def _user(connection: sqlite3.Connection, job_id: str) -> str | None:
    """A job that has not settled and needs files of ``job_id``: it names them, or its best checkpoint so far may be there."""
    place = {"job_id": job_id, "terminal": _TERMINAL}
    named = connection.execute(_SQL["user"], place).fetchone()
    if named is not None:
        return str(named["job_id"])

    def find(other: str) -> JobRow | None:
        found = connection.execute(_SQL["job"], {"job_id": other}).fetchone()
        return None if found is None else job_of(found)

    for found in connection.execute(_SQL["going_on"], place).fetchall():
        row = job_of(found)
        if any(origin.job_id == job_id for origin in origins_of(row, find)):
            return row.job_id
    return None


def _tombstone_of(row: sqlite3.Row) -> Tombstone:
    return Tombstone(**{name: row[name] for name in Tombstone.model_fields})


def _hash_of(payload: dict[str, Any] | None) -> str:
    return hashlib.sha256(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
