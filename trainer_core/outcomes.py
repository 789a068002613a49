"""The one file that an attempt leaves about its end."""

from pathlib import Path

from schemas.assignment import OUTCOME_FILE, Outcome
from schemas.files import write_atomically


def leave_outcome(attempt_folder: Path, outcome: Outcome) -> None:
    """Leave ``outcome`` in the attempt's folder, whole or not at all. Raises OSError."""
    write_atomically(attempt_folder / OUTCOME_FILE, outcome.model_dump_json(by_alias=True, exclude_none=True).encode())
