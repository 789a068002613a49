"""The SQLite file: one connection that writes, and as many as needed that read."""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter

from app.store.interface import JobRow, Observer, StoreUnavailable, Unobserved
from app.store.migrating import migrate
from schemas.events import Event

_BUSY_SECONDS = 10.0
_NEXT_MOVE = "Put a copy of it back, move it away to begin with none, or set PT_HOME to another folder."


class Writer(sqlite3.Connection):
    """The connection that writes; ``news`` is what the open transaction stores, for the observer to be told of."""

    news: list[tuple[JobRow, list[Event]]]


class Database:
    """Transactions on the file at ``path``, which is made when it does not exist (readable by its owner alone), and
    brought to this release's version when an older release made it.

    Raises StoreUnavailable when the file cannot be opened or was written by a newer release. ``observer`` is told of
    each transaction that is on disk, in the thread that wrote it.
    """

    def __init__(self, path: Path, observer: Observer | None = None) -> None:
        self._path = path
        self._observer = observer or Unobserved()
        self._lock = threading.Lock()
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and not path.is_file():
            raise StoreUnavailable(f"{path} cannot be used as the database: it is no file. {_NEXT_MOVE}")
        path.touch(mode=0o600)
        self._writer = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=Writer
        )
        try:
            _configure(self._writer)
            self._writer.execute("PRAGMA journal_mode = WAL")
            migrate(self._writer, path)
        except sqlite3.DatabaseError as error:
            self._writer.close()
            # Full, locked, not to be written; all else is a file that is no database of ours, or no longer one.
            passing = isinstance(error, sqlite3.OperationalError)
            move = "Free the disk or the lock, or set PT_HOME to another folder." if passing else _NEXT_MOVE
            raise StoreUnavailable(f"{path} cannot be used as the database: {error}. {move}") from error
        except StoreUnavailable:
            self._writer.close()
            raise

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """One transaction, on disk when the block ends, undone when it raises; one at a time.

        Raises StoreUnavailable when it could not be written (disk full, input/output error).
        """
        began = perf_counter()
        with self._lock, _translated():
            self._writer.news = []
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
            news = self._writer.news
        self._observer.committed(perf_counter() - began)
        for row, events in news:
            self._observer.told(row, events)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the file, which delays no writer."""
        with _translated():
            connection = self._reader()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._idle.append(connection)
                if self._closed:
                    self._close_idle()

    def close(self) -> None:
        """Release the file; a reading that still goes on releases its own connection at its end."""
        with self._lock:
            self._closed = True
            self._writer.close()
        self._close_idle()

    def _reader(self) -> sqlite3.Connection:
        with suppress(IndexError):
            return self._idle.pop()
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        _configure(connection)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def _configure(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    # FULL: a commit waits for the disk. An accepted job must survive a loss of power.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # Our own mistakes.
    except sqlite3.DatabaseError as error:
        raise StoreUnavailable(f"The database could not be used: {error}.") from error
