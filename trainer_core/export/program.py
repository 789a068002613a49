"""A model as a program of torch.export: what does not need the model file is made of it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection, export
from torch.fx.experimental.symbolic_shapes import is_concrete_int

from trainer_core.loop.trees import count_samples, leaves


def exported(model: nn.Module, inputs: Any) -> ExportedProgram:
    """The program of ``model``, called with ``inputs`` as training calls it; the number of samples is left open where torch
    does not find that the model fixes it. Raises whatever torch raises for a model that it cannot follow."""
    samples, shapes = count_samples(inputs), ShapesCollection()  # type: ignore[no-untyped-call]
    for tensor in leaves(inputs):
        if samples > 1 and isinstance(tensor, Tensor) and tensor.ndim and len(tensor) == samples:
            shapes[tensor] = {0: Dim.AUTO}
    arguments, named = _arguments(inputs)
    return export(model, arguments, named, dynamic_shapes=shapes)  # type: ignore[arg-type]


def has_dynamic_batch(program: ExportedProgram) -> bool:
    """Whether the first axis of an input is open."""
    inputs = set(program.graph_signature.user_inputs)
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    return any(isinstance(value, Tensor) and value.ndim and not is_concrete_int(value.shape[0]) for value in values)


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """By place and by name, as ``call`` passes them."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), {}
