"""A program of torch.export (.pt2): it runs without the model file."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram, ShapesCollection
from torch.export.dynamic_shapes import Dim
from torch.fx.experimental.symbolic_shapes import is_concrete_int

from trainer_core.export.agreement import leaves, require_agreement
from trainer_core.export.subject import Say, Subject
from trainer_core.loop.trees import count_samples, map_tensors


def write(subject: Subject, path: Path, say: Say) -> dict[str, Any]:
    """Write the program of the model, with any number of samples where the model allows it, and compare what it computes,
    read back from disk, with the model. No sample lies in the file. Raises OSError, Failure, and whatever torch raises for a
    model that it cannot follow."""
    model, inputs = subject.model, subject.inputs
    say("exporting")
    program = exported(model, inputs)
    dynamic = has_dynamic_batch(program)
    program.example_inputs = None
    say("writing")
    save(program, path)
    del program
    say("checking")
    with path.open("rb") as file:
        loaded = torch.export.load(file).module()
    batches = [inputs, *([fewer(inputs)] if dynamic else [])]
    differences = [require_agreement(subject.run(model, batch), subject.run(loaded, batch)) for batch in batches]
    return {"dynamic_batch": dynamic, "largest_difference": max(differences)}


def exported(model: nn.Module, inputs: Any) -> ExportedProgram:
    """The program of ``model``, called with ``inputs`` as training calls it; the number of samples is left open where torch
    does not find that the model fixes it."""
    samples, shapes = count_samples(inputs), ShapesCollection()  # type: ignore[no-untyped-call]
    for tensor in leaves(inputs):
        if samples > 1 and isinstance(tensor, Tensor) and tensor.ndim and len(tensor) == samples:
            shapes[tensor] = {0: Dim.AUTO}
    arguments, named = _arguments(inputs)
    return torch.export.export(model, arguments, named, dynamic_shapes=shapes)  # type: ignore[arg-type]


def has_dynamic_batch(program: ExportedProgram) -> bool:
    """Whether the first axis of an input is open."""
    inputs = set(program.graph_signature.user_inputs)
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    return any(isinstance(value, Tensor) and value.ndim and not is_concrete_int(value.shape[0]) for value in values)


def fewer(inputs: Any) -> Any:
    """All but the last of the samples of ``inputs``."""
    samples = count_samples(inputs)
    return map_tensors(lambda item: item[:-1] if item.ndim and len(item) == samples else item, inputs)


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


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """By place and by name, as ``call`` passes them."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), {}
