"""The store's one door: which one it is, is known here and nowhere else."""

from app.settings import Settings
from app.store.interface import Observer, Store
from app.store.sqlite import SqliteStore


def open_store(settings: Settings, observer: Observer | None = None) -> Store:
    """The store of a service; ``observer`` is told of what it stores. Raises StoreUnavailable when it cannot be used."""
    return SqliteStore(settings.database, observer)
