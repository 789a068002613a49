"""A program of ONNX: it runs without the model file, and without torch."""

from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from trainer_core.export.agreement import check
from trainer_core.export.format import Facts, Say
from trainer_core.export.open_lengths import GATED, leaving_lengths_open
from trainer_core.export.openness import with_what_it_allows
from trainer_core.export.plain import named, plain
from trainer_core.export.program import Arguments, Openness, program_of, tensors
from trainer_core.export.subject import Subject
from trainer_core.failure import Failure

# What one file of protobuf holds.
_MOST_BYTES = 2**31 - 1


def write(subject: Subject, path: Path, say: Say) -> Facts:
    """Write the program of the model, with any number of samples and any lengths where the model allows it, and compare what
    ONNX Runtime computes with it on the CPU with the model. Its outputs have the names of their places in what the model returns.
    Raises OSError, Failure (also for weights of 2 GiB and more, which one file does not hold), and whatever torch raises for a
    model that it cannot follow."""
    model = subject.model
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if weights > _MOST_BYTES:
        raise _too_large(weights)

    def once(openness: Openness) -> Facts:
        say("exporting")
        outputs: list[str] = []
        program = program_of(model, subject.trials, openness, lambda output: _noting(output, outputs), GATED)
        inputs = [taken.name for taken in program.inputs]
        names = [f"{name}_out" if name in inputs else name for name in outputs]
        with leaving_lengths_open(GATED):
            converted = torch.onnx.export(
                program.exported,
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=inputs,
                output_names=names,
            )
        assert converted is not None
        say("writing")
        path.write_bytes(converted.model_proto.SerializeToString())
        del converted
        say("checking")
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return check(subject, program, lambda arguments: _run(session, arguments), guarded=False)

    return with_what_it_allows(subject, once)


def _noting(output: Any, names: list[str]) -> dict[str, Tensor]:
    """The tensors of ``output``; ``names`` are theirs afterwards."""
    found = named(plain(output))
    names[:] = found
    return found


def _run(session: Any, arguments: Arguments) -> list[Tensor]:
    """The outputs for ``arguments``, whose tensors are the program's inputs in their order."""
    given = [tensor.numpy() for tensor in tensors(arguments)]
    names = [entry.name for entry in session.get_inputs()]
    return [torch.from_numpy(output) for output in session.run(None, dict(zip(names, given, strict=True)))]


def _too_large(weights: int) -> Failure:
    return Failure(
        "export_failed",
        f"The weights have {weights:,} bytes, and a file of ONNX holds fewer than {_MOST_BYTES:,}.",
        next_move="Export to torch_export or safetensors, which hold as much as there is.",
    )
