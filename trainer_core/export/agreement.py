"""Whether an exported program computes what its model does."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainer_core.export.format import Facts
from trainer_core.export.subject import Subject
from trainer_core.failure import Failure
from trainer_core.loop.trees import count_samples, leaves, map_tensors

TOLERANCE = 1e-4


def check(subject: Subject, run: Callable[[Any], Any], *, dynamic: bool) -> Facts:
    """Compare the outputs of ``run``, the written program, with the model's: for all inputs of the subject, and for one sample
    less where their number is left open (``dynamic``). Raises as ``require_agreement`` does."""
    batches = [subject.inputs, *([_fewer(subject.inputs)] if dynamic else [])]
    # Each gets a copy: a model may write into its inputs.
    differences = [require_agreement(subject.run(subject.model, _copy(batch)), run(_copy(batch))) for batch in batches]
    return Facts(dynamic, max(differences))


def require_agreement(wanted: Any, got: Any) -> float:
    """The largest difference between the numbers of two outputs.

    Raises Failure ``export_failed`` where one is greater than ``TOLERANCE`` of the wanted number and ``TOLERANCE`` together,
    and where shapes or the number of tensors are not the same. NaN agrees with NaN.
    """
    expected, found = ([leaf.detach() for leaf in leaves(side) if isinstance(leaf, Tensor)] for side in (wanted, got))
    if [leaf.shape for leaf in expected] != [leaf.shape for leaf in found]:
        shapes = " and ".join(str([list(leaf.shape) for leaf in side]) for side in (found, expected))
        raise _differs(f"its outputs and the model's have the shapes {shapes}")
    largest = 0.0
    for ours, theirs in zip(expected, found, strict=True):
        if ours.numel() == 0:
            continue
        exact, other = ours.to(torch.float64), theirs.to(torch.float64)
        difference = (exact - other).abs().masked_fill(exact.isnan() & other.isnan(), 0.0)
        if not torch.allclose(other, exact, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            raise _differs(f"its output is off by up to {difference.nan_to_num(torch.inf).max().item():.3g}")
        largest = max(largest, difference.max().item())
    return largest


def _copy(inputs: Any) -> Any:
    return map_tensors(torch.clone, inputs)


def _fewer(inputs: Any) -> Any:
    """All but the last of the samples of ``inputs``."""
    samples = count_samples(inputs)
    return map_tensors(lambda item: item[:-1] if item.ndim and len(item) == samples else item, inputs)


def _differs(how: str) -> Failure:
    return Failure(
        "export_failed",
        f"The exported program does not compute what the model does: {how}.",
        next_move="Look for what the model does outside of tensors (Python's own numbers, state between two calls), and "
        "submit again with resumeFrom set to the run's folder: nothing is trained again.",
    )
