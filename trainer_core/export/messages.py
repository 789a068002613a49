"""What the process of an export is told, and what it says: the two ends of its pipes."""

from pathlib import Path

from schemas.assignment import Assignment
from schemas.base import Document
from schemas.exporting import EXPORT_FOLDER, EXPORTS, ExportFormat, ExportStage
from schemas.result import Export


class Work(Document):
    """What is to be made: each of ``formats``, of the weights in ``checkpoint``, with so many CPU ``threads`` and bytes of
    ``memory``, all there is where it is absent. After it come the samples that a program is made and checked with."""

    assignment: Assignment
    checkpoint: str
    formats: list[ExportFormat]
    threads: int
    memory: int | None = None

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return Path(self.assignment.run_folder) / EXPORT_FOLDER

    def place(self, format: ExportFormat) -> Path:
        """The file of ``format``, when it is whole."""
        return self.folder / EXPORTS[format].file

    def draft(self, format: ExportFormat) -> Path:
        """The same until then."""
        return self.folder / f"{EXPORTS[format].file}.tmp"


class Word(Document):
    """A format has come to a ``stage``; or it is over with it, and ``export`` is what came of it: a file that is whole, and
    still a draft by its name."""

    format: ExportFormat
    stage: ExportStage | None = None
    export: Export | None = None
