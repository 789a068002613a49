"""A program of ONNX: it runs without the model file, and without torch."""

from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from trainer_core.export.agreement import check
from trainer_core.export.format import Facts, Say
from trainer_core.export.program import exported, has_dynamic_batch
from trainer_core.export.subject import Subject
from trainer_core.failure import Failure
from trainer_core.loop.trees import leaves

# What one file of protobuf holds.
_MOST_BYTES = 2**31 - 1


def write(subject: Subject, path: Path, say: Say) -> Facts:
    """Write the program of the model, with any number of samples where the model allows it, and compare what ONNX Runtime
    computes with it on the CPU with the model. Raises OSError, Failure (also for weights of 2 GiB and more, which one file does
    not hold), and whatever torch raises for a model that it cannot follow."""
    model = subject.model
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if weights > _MOST_BYTES:
        raise _too_large(weights)
    say("exporting")
    program = exported(model, subject.inputs)
    dynamic = has_dynamic_batch(program)
    converted = torch.onnx.export(program, dynamo=True, external_data=False, verbose=False)
    assert converted is not None
    say("writing")
    path.write_bytes(converted.model_proto.SerializeToString())
    del program, converted
    say("checking")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return check(subject, lambda batch: _run(session, batch), dynamic=dynamic)


def _run(session: Any, inputs: Any) -> list[Tensor]:
    """The outputs for ``inputs``, whose tensors are the program's inputs in their order."""
    tensors = [leaf.numpy() for leaf in leaves(inputs) if isinstance(leaf, Tensor)]
    names = [entry.name for entry in session.get_inputs()]
    return [torch.from_numpy(output) for output in session.run(None, dict(zip(names, tensors, strict=True)))]


def _too_large(weights: int) -> Failure:
    return Failure(
        "export_failed",
        f"The weights have {weights:,} bytes, and a file of ONNX holds fewer than {_MOST_BYTES:,}.",
        next_move="Export to torch_export or safetensors, which hold as much as there is.",
    )
