"""The same bits every time: operations without such a form are refused, and told by name."""

import os
import re

import torch

from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure

_POINTER = "/trainingConfig/deterministic"
# What torch raises, for an operation of its own and for cuBLAS.
_NO_FORM = re.compile(r"(\S+) does not have a deterministic implementation")
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
# The larger of the two sizes for which cuBLAS promises the same bits; 24 MiB of device memory.
_WORKSPACE = ":4096:8"


def settle(deterministic: bool) -> None:
    """Put torch into deterministic mode, before anything has run on a GPU; ``False`` leaves it as it starts."""
    if not deterministic:
        return
    os.environ.setdefault(_CUBLAS, _WORKSPACE)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def without_deterministic_form(failure: Failure) -> Failure | None:
    """The failure that names the operation, where ``failure`` comes of one that deterministic mode refuses; else None."""
    text = str(failure.__cause__)
    named = _NO_FORM.search(text)
    if named is None and not ("Deterministic behavior was enabled" in text and _CUBLAS in text):
        return None
    operation = named.group(1) if named else "A matrix product of cuBLAS"
    place = failure.error.place or Place()
    return Failure(
        "model_invalid",
        f"{operation} has no form that gives the same bits every time, which trainingConfig.deterministic asks for.",
        next_move="Leave deterministic out, or use another operation at the named line.",
        place=place.model_copy(update={"pointer": _POINTER}),
        fix=[PatchOperation(op="replace", path=_POINTER, value=False)],
        detail=text,
    )
