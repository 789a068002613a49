"""Old jobs: deleted because somebody says so, or by the policy of the settings.

First the database forgets a job, in one transaction, then its folder goes. Whoever is killed in between leaves a folder
that belongs to no job; the next service takes it away when it starts.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.clock import seconds_until
from app.job_folder import remove_job_folder
from app.settings import Settings
from app.store.interface import IllegalTransition, InUse, Store, StoreUnavailable

_PAUSE_SECONDS = 3600.0
_DAY_SECONDS = 86_400.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Policy:
    """What is kept of the jobs that have settled: all that every one of the rules keeps. 0 is no rule."""

    days: int = 0
    jobs: int = 0
    bytes: int = 0

    @staticmethod
    def of(settings: Settings) -> "Policy":
        """The policy of a service."""
        return Policy(settings.keep_days, settings.keep_jobs, settings.keep_bytes)

    def superfluous(self, settled: Sequence[tuple[str, str]], size_of: Callable[[str], int]) -> Iterator[str]:
        """Of ``settled`` (id and end, the newest first) those that a rule does not keep. ``size_of`` is asked for the
        bytes of a job only where it matters."""
        taken = 0
        for number, (job_id, finished_at) in enumerate(settled, start=1):
            taken += size_of(job_id) if self.bytes else 0
            too_old = self.days and -seconds_until(finished_at) > self.days * _DAY_SECONDS
            if too_old or (self.jobs and number > self.jobs) or (self.bytes and taken > self.bytes):
                yield job_id


class Disposal:
    """Deletes jobs: rows, events and the job's own folder. What lies under a ``saveDir`` is the user's, and stays."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._jobs = settings.jobs
        self._policy = Policy.of(settings)
        self._store = store
        self._sizes: dict[str, int] = {}
        self._closing = asyncio.Event()

    def delete(self, job_id: str) -> bool:
        """Delete a settled job; False when there is none. Raises IllegalTransition and InUse as the store does, and has
        deleted nothing then."""
        deleted = self._store.tombstones.bury(job_id)
        if deleted:
            remove_job_folder(self._jobs, job_id)
            self._sizes.pop(job_id, None)
            _log.info("%s is deleted", job_id)
        return deleted

    def sweep(self) -> list[str]:
        """Delete what the policy does not keep; the ids. A job that another goes on from stays until that one has ended."""
        deleted = []
        for job_id in list(self._policy.superfluous(self._store.tombstones.settled(), self._size_of)):
            if self._closing.is_set():
                break
            with suppress(InUse, IllegalTransition):
                deleted += [job_id] if self.delete(job_id) else []
        return deleted

    async def sweep_hourly(self) -> None:
        """Sweep now and each hour, until ``close``; at once at an end where the policy keeps everything."""
        while self._policy != Policy() and not self._closing.is_set():
            try:
                await asyncio.to_thread(self.sweep)
            except StoreUnavailable as error:
                _log.warning("Old jobs are left for an hour: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_SECONDS):
                    await self._closing.wait()

    def close(self) -> None:
        """Sweep no more; a job that is being deleted is deleted whole."""
        self._closing.set()

    def _size_of(self, job_id: str) -> int:
        if job_id not in self._sizes:
            self._sizes[job_id] = _bytes_under(self._jobs / job_id)
        return self._sizes[job_id]


def _bytes_under(folder: Path) -> int:
    """Bytes that the files under ``folder`` take on the disk; links are not followed."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total
