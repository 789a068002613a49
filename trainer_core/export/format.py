"""What a format of export is to the process that makes it: a function that writes its file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from schemas.exporting import ExportInput, ExportStage
from trainer_core.export.subject import Subject


@dataclass(frozen=True)
class Facts:
    """What the check of a program has shown, as the entry of ``exports`` says it. Nothing, of a file that is no program."""

    dynamic_batch: bool | None = None
    inputs: list[ExportInput] | None = None
    largest_difference: float | None = None
    remarks: list[str] = field(default_factory=list)


# Says that a stage has begun.
Say = Callable[[ExportStage], None]

# Writes the whole file at the path, from the subject, and says each stage but the first. It is synced, hashed and renamed by
# others. Whatever it raises is why there is no file; a Failure, in its own words.
Write = Callable[[Subject, Path, Say], Facts]
