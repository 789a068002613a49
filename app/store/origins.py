"""Which jobs a job goes on from: the one whose folder it names, the one that that one had named, and so on."""

from collections.abc import Callable, Sequence
from pathlib import Path

from app.store.interface import JobRow


def origins_of(row: JobRow, find: Callable[[str], JobRow | None]) -> Sequence[JobRow]:
    """The jobs that ``row`` goes on from, the nearest first, each found by its id: up to the first one that went on from none,
    or from one that was deleted since."""
    origins: list[JobRow] = []
    before = _before(row, find)
    # A job can name only one that was there before it: a ring means a damaged store, and is gone round once.
    while before is not None and before not in origins:
        origins.append(before)
        before = _before(before, find)
    return origins


def _before(row: JobRow, find: Callable[[str], JobRow | None]) -> JobRow | None:
    """The job in whose folder ``resumeFrom`` of ``row`` lies; None where it is no job's."""
    resume_from = row.request.get("checkpointConfig", {}).get("resumeFrom") or ""
    names = (part for part in Path(resume_from).parts if part.startswith("job_"))
    return next((found for found in map(find, names) if found is not None), None)
