"""Recurrent layers that torch.export follows for any length: by itself it walks through the steps, and fixes their number."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._ops import OpOverload

_KEYS = (DispatchKey.CompositeImplicitAutograd, DispatchKey.Autograd)
# GRU and LSTM are operations of ONNX, too.
GATED: tuple[OpOverload, ...] = (torch.ops.aten.gru.input, torch.ops.aten.lstm.input)
RECURRENT: tuple[OpOverload, ...] = (*GATED, torch.ops.aten.rnn_tanh.input, torch.ops.aten.rnn_relu.input)


@contextmanager
def leaving_lengths_open(operations: Sequence[OpOverload] = RECURRENT) -> Iterator[None]:
    """Until the end, what a tracer asks ``operations`` for the shapes of their outputs is answered from the shapes of their
    inputs. It would run them in Python, step for step (torch 2.13, ``torch/_decomp/decompositions.py``)."""
    before = {operation: dict(operation.py_kernels) for operation in operations}
    for operation in operations:
        _answer_with(operation, {**before[operation], **dict.fromkeys(_KEYS, _shapes)})
    try:
        yield
    finally:
        for operation in operations:
            _answer_with(operation, before[operation])


def _answer_with(operation: OpOverload, kernels: dict[Any, Any]) -> None:
    operation.py_kernels.clear()
    operation.py_kernels.update(kernels)
    operation._dispatch_cache.clear()


def _shapes(x: Tensor, state: Any, *settings: Any) -> tuple[Tensor, ...]:
    """Outputs and the last state of each layer, of the right shapes and strides; what is in them means nothing."""
    _, _, _, _, _, bidirectional, batch_first = settings
    states: list[Tensor] = list(state) if isinstance(state, tuple | list) else [state]
    width = states[0].shape[-1] * (2 if bidirectional else 1)
    steps = x.transpose(0, 1) if batch_first else x
    outputs = x.new_empty((*steps.shape[:-1], width))
    return (outputs.transpose(0, 1) if batch_first else outputs, *(each.new_empty(each.shape) for each in states))
