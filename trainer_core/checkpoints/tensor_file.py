"""Tensors on disk: the safetensors format, written piece by piece and hashed on the way.

``safetensors.torch.save_file`` wants all tensors on the CPU at once and leaves the hash to a second read. The
format is small: eight bytes of header length, a JSON header, the tensors' bytes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainer_core.checkpoints.manifest import FileRecord, write_hashed
from trainer_core.failure import Failure

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

# What torch.cat takes, and how many bytes are put together.
_JOINED = frozenset(_TYPES) - {torch.float8_e4m3fn, torch.uint64, torch.uint32, torch.uint16}
_BLOCK = 1 << 22


def write_tensors(path: Path, tensors: dict[str, Tensor], about: Mapping[str, str] | None = None) -> FileRecord:
    """Write ``tensors`` in logical order whatever their strides and devices, one, or 4 MiB of small ones, at a time in memory; ``about`` goes into the
    file's metadata.

    Raises Failure ``model_invalid`` for a type without a name in the format (quantized ones), OSError as ``write_hashed`` does.
    """
    # Wide types first, as the format's own library does: every tensor is aligned to its own size.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    return write_hashed(path, _chunks({name: tensors[name] for name in names}, about or {}))


def check_types(tensors: dict[str, Tensor]) -> None:
    """Raise Failure ``model_invalid`` for a tensor of a type without a name in the format."""
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES:
            raise Failure("model_invalid", f"{name!r} cannot be kept in a checkpoint: it is {tensor.dtype}.")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of ``path``, on the CPU and contiguous."""
    found: dict[str, Tensor] = load_file(path)
    return found


def _chunks(tensors: dict[str, Tensor], about: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    header: dict[str, object] = {"__metadata__": {"format": "pt", **about}}
    offset = 0
    check_types(tensors)
    for name, tensor in tensors.items():
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for block in _blocks(tensors.values()):
        flat = block[0] if len(block) == 1 else torch.cat(block)
        yield flat.cpu().contiguous().resolve_conj().resolve_neg().view(torch.uint8).numpy().data


def _blocks(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """``tensors``, flat, those that are small with their neighbours of the same type on the same device: each piece that is written
    interrupts the training beside it, however small it is."""
    block: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if not tensor.numel():
            continue
        flat = tensor.detach().reshape(-1)
        alike = block and (flat.dtype, flat.device) == (block[0].dtype, block[0].device) and flat.dtype in _JOINED
        if block and not (alike and size + flat.nbytes <= _BLOCK):
            yield block
            block, size = [], 0
        block.append(flat)
        size += flat.nbytes
    if block:
        yield block
