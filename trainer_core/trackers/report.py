"""What a tracker has to say of itself: a file in the attempt's folder, replaced with each sign of life."""

from pathlib import Path

from schemas.result import Tracking


def report_file(attempt_folder: Path, tracker: str) -> Path:
    """Where ``tracker`` reports."""
    return attempt_folder / f"tracking-{tracker}.json"


def write_report(attempt_folder: Path, tracking: Tracking) -> None:
    """Replace the report. Whole, but not synced: it matters only while the worker lives."""
    path = report_file(attempt_folder, tracking.tracker)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(tracking.model_dump_json(by_alias=True, exclude_none=True))
    temporary.rename(path)


def read_report(attempt_folder: Path, planned: Tracking) -> Tracking:
    """The newest report of a tracker; ``planned`` when it never made one."""
    try:
        return Tracking.model_validate_json(report_file(attempt_folder, planned.tracker).read_bytes())
    except FileNotFoundError:
        return planned
