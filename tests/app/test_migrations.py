"""Databases of earlier versions: opened, brought to this version, and gone on with."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from app.store.interface import StoreUnavailable
from app.store.migrating import MIGRATIONS, migrate
from app.store.sqlite import SqliteStore
from schemas.events import EpochCompleted
from tests.app.scene import line, new_job

DATABASES = sorted(Path(__file__).with_name("databases").glob("version_*.sql"))


def restored(dump: Path, folder: Path) -> Path:
    """The database that ``dump`` was made of, in ``folder``."""
    path = folder / "jobs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text())
        connection.execute("PRAGMA journal_mode = WAL")
    return path


def look(path: Path, statement: str) -> list[tuple]:
    """What the file at ``path`` answers."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def version_of(path: Path) -> int:
    """The version of a database."""
    return int(look(path, "PRAGMA user_version")[0][0])


@pytest.fixture(params=DATABASES, ids=lambda dump: dump.stem)
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return restored(request.param, tmp_path)


def test_the_files_are_numbered_without_a_gap():
    folder = Path(migrate.__code__.co_filename).with_name("migrations")
    numbers = [int(re.match(r"\d+", file.name)[0]) for file in sorted(folder.iterdir())]  # type: ignore[index]
    assert numbers == list(range(1, len(MIGRATIONS) + 1))


def test_jobs_of_an_earlier_version_are_all_there_and_go_on(older: Path):
    before = look(older, "SELECT job_id, state, attempt, last_seq, payload FROM job ORDER BY number")
    events = look(older, "SELECT job_id, seq, type, data FROM event ORDER BY job_id, seq")
    store = SqliteStore(older)
    assert version_of(older) == len(MIGRATIONS)
    assert look(older, "SELECT job_id, state, attempt, last_seq, payload FROM job ORDER BY number") == before
    assert look(older, "SELECT job_id, seq, type, data FROM event ORDER BY job_id, seq") == events
    # The queue in its order, and an attempt that was under way.
    assert [row.job_id for row in store.queue(10)] == ["job_lost", "job_queued"]
    assert [row.job_id for row in store.active()] == ["job_running", "job_cancelling"]
    assert store.resting() == []
    claimed = store.claim("job_lost", ("cpu",))
    assert claimed is not None
    assert claimed.attempt == 2
    assert store.offset("job_running", 1) == 300
    assert [event.seq for event in store.ingest("job_running", 1, [line(EpochCompleted(epoch=1))], 400)] == [3]
    assert store.settle("job_running", 1, "failed", {"status": "error"}, ("diverged", "The loss is NaN."))
    # Results, and keys.
    succeeded = store.of_key("key-of-succeeded")
    assert succeeded is not None
    assert succeeded.payload is not None
    assert (succeeded.job_id, succeeded.payload["status"]) == ("job_succeeded", "success")
    again, new = store.accept(new_job(idempotency_key="key-of-queued"))
    assert (again.job_id, new) == ("job_queued", False)
    # What comes now comes after everything that was there.
    accepted, _ = store.accept(new_job())
    assert store.list()[0].job_id == accepted.job_id
    store.close()


def test_what_an_earlier_version_became_is_what_a_new_database_is(older: Path, tmp_path: Path):
    SqliteStore(older).close()
    SqliteStore(tmp_path / "new.db").close()
    schema = "SELECT type, name, tbl_name FROM sqlite_master ORDER BY 1, 2"
    assert look(older, schema) == look(tmp_path / "new.db", schema)
    columns = (
        "SELECT m.name, c.* FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1, 2"
    )
    assert look(older, columns) == look(tmp_path / "new.db", columns)


def test_a_copy_is_made_before_and_only_then(older: Path):
    was = version_of(older)
    before = look(older, "SELECT * FROM job ORDER BY number")
    SqliteStore(older).close()
    copy = older.with_name(f"{older.name}.version-{was}")
    assert version_of(copy) == was
    assert look(copy, "SELECT * FROM job ORDER BY number") == before
    assert os.stat(copy).st_mode & 0o777 == 0o600
    made = copy.stat().st_mtime_ns
    SqliteStore(older).close()
    assert sorted(path.name for path in older.parent.iterdir()) == [older.name, copy.name]
    assert copy.stat().st_mtime_ns == made


def test_a_step_that_fails_leaves_the_database_at_the_step_before(older: Path):
    was = version_of(older)
    good, half = "CREATE TABLE good (a INTEGER) STRICT;", "CREATE TABLE half (a INTEGER) STRICT; SELECT nonsense;"
    steps = [*MIGRATIONS[:was], good, half]
    with closing(sqlite3.connect(older, isolation_level=None)) as connection, pytest.raises(sqlite3.OperationalError):
        migrate(connection, older, steps)
    assert version_of(older) == was + 1
    assert look(older, "SELECT name FROM sqlite_master WHERE name IN ('good', 'half')") == [("good",)]


def test_a_kill_in_the_middle_of_a_step_leaves_the_step_before(older: Path):
    was = version_of(older)
    program = (
        "import os, signal, sqlite3, sys\n"
        "from pathlib import Path\n"
        "from app.store.migrating import MIGRATIONS, migrate\n"
        "path, was = Path(sys.argv[1]), int(sys.argv[2])\n"
        "connection = sqlite3.connect(path, isolation_level=None)\n"
        "connection.create_function('die', 0, lambda: os.kill(os.getpid(), signal.SIGKILL))\n"
        "migrate(connection, path, [*MIGRATIONS[:was], 'CREATE TABLE half (a INTEGER) STRICT; SELECT die();'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, older, str(was)], cwd=Path.cwd(), capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert look(older, "SELECT name FROM sqlite_master WHERE name = 'half'") == []
    store = SqliteStore(older)
    assert [row.job_id for row in store.queue(10)] == ["job_lost", "job_queued"]
    store.close()


def test_a_newer_database_is_left_alone(tmp_path: Path):
    path = tmp_path / "jobs.db"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StoreUnavailable, match="Install the newer release"):
        SqliteStore(path)
    assert version_of(path) == len(MIGRATIONS) + 1
    assert not list(tmp_path.glob("*.version-*"))
