"""Migrations: the numbered SQL files that bring a database, step by step, to the version that this release knows.

A file is never changed once it was released; what is wrong with it is mended by the next.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from app.store.interface import StoreUnavailable
from schemas.files import sync_folder

MIGRATIONS: tuple[str, ...] = tuple(
    file.read_text() for file in sorted(Path(__file__).with_name("migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))
)


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the database at ``path``, which ``connection`` alone has open, to the version ``len(migrations)``.

    Each step is a transaction: a service that is killed here goes on from the last whole one. Before the first step a
    copy of the database is made beside it, ``NAME.version-N``, for whoever has to go back to the older release. Raises
    StoreUnavailable, and has changed nothing then, for a database of a newer release; sqlite3.Error for what fails.
    """
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > len(migrations):
        raise StoreUnavailable(
            f"{path} has schema version {found}; this release knows versions up to {len(migrations)}. "
            "Install the newer release, or set PT_HOME to another folder."
        )
    if 0 < found < len(migrations):
        _copy(connection, path.with_name(f"{path.name}.version-{found}"))
    # A step may have to make a table anew, which others refer to; it is held to that at its end.
    connection.execute("PRAGMA foreign_keys = OFF")
    for version, statements in enumerate(migrations[found:], start=found + 1):
        connection.executescript(f"BEGIN IMMEDIATE;\n{statements}")
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
        assert not broken, f"migration {version} leaves references that lead nowhere: {broken[:3]}"
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    connection.execute("PRAGMA foreign_keys = ON")


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    """A whole copy at ``path``, or none: made beside it, and put there at once."""
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    copy = sqlite3.connect(unfinished, isolation_level=None)
    try:
        connection.backup(copy)
        # One file, that can be put in place of the database: no log of its own beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
    os.replace(unfinished, path)
    sync_folder(path.parent)
