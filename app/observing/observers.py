"""Observers of the store, as one."""

from collections.abc import Sequence

from app.store.interface import JobRow, Observer
from schemas.events import Event


class Observers:
    """Tells each of ``observers``, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        """Tell this one, too, from now on."""
        self._observers.append(observer)

    def told(self, row: JobRow, events: Sequence[Event]) -> None:
        """Pass on what was stored."""
        for observer in self._observers:
            observer.told(row, events)

    def committed(self, seconds: float) -> None:
        """Pass on how long a transaction took."""
        for observer in self._observers:
            observer.committed(seconds)
