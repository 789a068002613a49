"""The SQLite file: one connection that writes, and as many as needed that read."""

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter

from app.store.interface import JobRow, Observer, StoreBroken, StoreUnavailable, Unobserved
from app.store.migrating import migrate
from schemas.events import Event

_BUSY_SECONDS = 10.0
_NEXT_MOVE = "Put a copy of it back, move it away to begin with none, or set PT_HOME to another folder."
_FREE = "Free the disk or the lock, or set PT_HOME to another folder."


# The second: names and texts in a damaged file need be no UTF-8.
_FLAWS = (sqlite3.DatabaseError, UnicodeDecodeError)


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
        _make(path)
        self._file = _identity(path)
        self._writer = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=Writer
        )
        try:
            _configure(self._writer)
            self._writer.execute("PRAGMA journal_mode = WAL")
            migrate(self._writer, path)
        except _FLAWS as error:
            self._writer.close()
            # Full, locked, not to be written; all else is a file that is no database of ours, or no longer one.
            move = _FREE if _passes(error) else _NEXT_MOVE
            raise StoreUnavailable(f"{path} cannot be used as the database: {_flaw(error)}. {move}") from error
        except StoreUnavailable:
            self._writer.close()
            raise

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """One transaction, on disk when the block ends, undone when it raises; one at a time.

        Raises StoreUnavailable when it could not be written (disk full, input/output error), StoreBroken when the file
        is damaged or not in its place any more.
        """
        began = perf_counter()
        with self._lock, self._translated():
            self._require_in_place()
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
        """One consistent view of the file, which delays no writer. Raises as ``writing``."""
        with self._translated():
            self._require_in_place()
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

    def _require_in_place(self) -> None:
        """What is written to a file that has no name any more is lost with this process."""
        if _identity(self._path) != self._file:
            move = "Put it back, or end the service and start it again to begin with what is there now."
            raise StoreBroken(f"The database {self._path} was taken away or replaced under the running service. {move}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # Our own mistakes.
        except _FLAWS as error:
            if _passes(error):
                raise StoreUnavailable(f"The database could not be used: {error}.") from error
            damage = f"The database {self._path} is damaged: {_flaw(error)}. End the service first."
            raise StoreBroken(f"{damage} {_NEXT_MOVE}") from error

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def _configure(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    # FULL: a commit waits for the disk. An accepted job must survive a loss of power.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _make(path: Path) -> None:
    """An empty file where there is none. Raises StoreUnavailable."""
    refused = f"{path} cannot be used as the database"
    if path.exists() and not path.is_file():
        raise StoreUnavailable(f"{refused}: it is no file. {_NEXT_MOVE}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        move = "Let the user of the service write it, or set PT_HOME to another folder."
        raise StoreUnavailable(f"{refused}: {error.strerror}. {move}") from error


def _identity(path: Path) -> tuple[int, int] | None:
    """What names the file at ``path`` for as long as it exists, whatever it is called."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _passes(error: Exception) -> bool:
    """Whether it is for the disk or a lock that the file cannot be used, and not for what is in it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR


def _flaw(error: Exception) -> str:
    """In SQLite's words; Python's say again what stands in the row."""
    return str(error) if hasattr(error, "sqlite_errorcode") else "it holds what nobody has written"
