"""Whether an exported program computes what its model does."""

from collections.abc import Callable
from typing import Any

import torch

from trainer_core.export.format import Facts
from trainer_core.export.program import Arguments, Program, arguments_of, tensors
from trainer_core.export.subject import Subject
from trainer_core.export.trial import Trial
from trainer_core.failure import Failure
from trainer_core.loop.trees import map_tensors

TOLERANCE = 1e-4


class NotElsewhere(Exception):
    """The program does what the model does for the inputs that it was made of, and not for others that it seems to take."""


def check(subject: Subject, program: Program, run: Callable[[Arguments], Any], *, guarded: bool) -> Facts:
    """Compare the outputs of ``run``, the written program, with the model's, for each trial that has the sizes of its inputs.

    What the model itself does not take, it need not. A ``guarded`` program may refuse some of the trials, not all but its own: it says
    so to whoever runs it. Raises as ``require_agreement`` does for the trial that it was made of, and NotElsewhere for another one.
    """
    first, *others = subject.trials
    differences = [require_agreement(subject.run(_copy(first.inputs)), run(_arguments(first)))]
    refused: list[str] = []
    for trial in others:
        if not program.takes(_arguments(trial)):
            continue
        try:
            wanted = subject.run(_copy(trial.inputs))
        except Failure:
            continue
        difference = _elsewhere(trial, wanted, run, guarded)
        if difference is None:
            refused.append(f"It refuses {_sizes(trial)}, which the model takes.")
        else:
            differences.append(difference)
    if refused and len(differences) == 1:
        raise NotElsewhere("it takes only the sizes that it was made with")
    # Once more: a model may count its calls.
    differences.append(require_agreement(subject.run(_copy(first.inputs)), run(_arguments(first))))
    remarks = list(dict.fromkeys([*program.remarks, *refused]))
    return Facts(program.dynamic_batch, program.inputs, max(differences), remarks)


def _elsewhere(trial: Trial, wanted: Any, run: Callable[[Arguments], Any], guarded: bool) -> float | None:
    """The largest difference of another trial; None where a ``guarded`` program refuses it."""
    try:
        got = run(_arguments(trial))
    except Exception as error:
        # What a runtime raises has no common class.
        if guarded:
            return None
        raise NotElsewhere(f"with {_sizes(trial)} it fails") from error
    try:
        return require_agreement(wanted, got)
    except Failure as failure:
        raise NotElsewhere(f"with {_sizes(trial)} it does something else than the model") from failure


def require_agreement(wanted: Any, got: Any) -> float:
    """The largest difference between the numbers of two outputs.

    Raises Failure ``export_failed`` where one is greater than ``TOLERANCE`` of the wanted number and ``TOLERANCE`` together,
    and where shapes or the number of tensors are not the same. NaN agrees with NaN.
    """
    expected, found = ([tensor.detach() for tensor in tensors(side)] for side in (wanted, got))
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


def _arguments(trial: Trial) -> Arguments:
    return arguments_of(_copy(trial.inputs))


def _sizes(trial: Trial) -> str:
    shapes = " and ".join(str(list(tensor.shape)) for tensor in tensors(trial.inputs))
    return f"a batch of {trial.samples} ({shapes})"


def _copy(inputs: Any) -> Any:
    """A model may write into its inputs."""
    return map_tensors(torch.clone, inputs)


def _differs(how: str) -> Failure:
    return Failure(
        "export_failed",
        f"The exported program does not compute what the model does: {how}.",
        next_move="Look for what the model does outside of tensors (Python's own numbers, state between two calls), and "
        "submit again with resumeFrom set to the run's folder: nothing is trained again.",
    )
