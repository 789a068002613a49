"""A program of torch.export (.pt2): it runs without the model file."""

import io
import os
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import nn
from torch.export import ExportedProgram

from trainer_core.export.agreement import check
from trainer_core.export.format import Facts, Say
from trainer_core.export.openness import with_what_it_allows
from trainer_core.export.plain import plain
from trainer_core.export.program import Arguments, Openness, call_program, program_of
from trainer_core.export.subject import Subject


def write(subject: Subject, path: Path, say: Say) -> Facts:
    """Write the program of the model, with any number of samples and any lengths where the model allows it, and compare what it
    computes, read back from disk, with the model. No sample lies in the file. Raises OSError, Failure, and whatever torch raises
    for a model that it cannot follow."""
    model = subject.model

    def once(openness: Openness) -> Facts:
        say("exporting")
        program = program_of(model, subject.trials, openness, plain)
        program.exported.example_inputs = None
        say("writing")
        save(program.exported, path)
        say("checking")
        with path.open("rb") as file:
            loaded = torch.export.load(file).module()
        return check(subject, program, lambda arguments: _run(subject, loaded, arguments), guarded=True)

    return with_what_it_allows(subject, once)


def _run(subject: Subject, program: nn.Module, arguments: Arguments) -> Any:
    subject.seed()
    return call_program(program, arguments)


def save(program: ExportedProgram, path: Path) -> None:
    """Write ``program`` to ``path``. Raises OSError when the disk is full, which torch's writer answers by ending the process."""
    with path.open("wb") as file:
        noting = _NotingErrors(file)
        torch.export.save(program, cast(IO[bytes], noting))
        if noting.error is not None:
            raise noting.error


class _NotingErrors(io.RawIOBase):
    """Writes to ``file``, and keeps the first error to itself: nothing is written after it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        if self.error is None:
            try:
                self._file.flush()
            except OSError as error:
                self.error = error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Torch goes back to the beginning when all is written: the file is closed then."""
        return offset

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
