"""The moment before a batch: what the batch may change before its step is taken, kept and put back."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from schemas.recovery import RecoveryPolicy
from trainer_core.loop.buffers import KeptBuffers
from trainer_core.loop.metrics.figures import Figures


class Moment:
    """Keeps nothing: whoever goes back to it has failed. The null form."""

    def take(self) -> None:
        """Keep what is now."""

    def put_back(self) -> None:
        """Make it again what it was."""


class KeptMoment(Moment):
    """Generators, buffers and running ``figures``; there are no gradients at that moment, and afterwards there are none."""

    def __init__(self, model: nn.Module, device: torch.device, figures: Figures | None) -> None:
        self._model = model
        self._device = device
        self._figures = figures
        self._buffers = KeptBuffers(model)
        self._marks: dict[str, Any] = {}
        self._torch = torch.get_rng_state()
        self._cuda: Tensor | None = None
        self._others = OtherGenerators()

    def take(self) -> None:
        """Keep what is now, without a sync."""
        self._others.take()
        self._torch = torch.default_generator.get_state()
        if self._device.type == "cuda":
            self._cuda = torch.cuda.get_rng_state(self._device)
        self._buffers.take()
        if self._figures is not None:
            self._marks = mark(self._figures, self._marks)

    def put_back(self) -> None:
        """Make it again what it was."""
        self._others.put_back()
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
        self._buffers.put_back()
        self._model.zero_grad(set_to_none=True)
        if self._figures is not None:
            undo(self._figures, self._marks)


class OtherGenerators:
    """Python's and NumPy's. To read their states takes longer than a step of a small model, and few models draw from them:
    they are kept before every batch only once a batch was seen to draw. Every ``LOOKS``-th one is looked at."""

    LOOKS = 1000

    def __init__(self) -> None:
        self._drawn_from = False
        self._batches = 0
        self._state: tuple[Any, Any] | None = None

    def take(self) -> None:
        """Keep the states, where it matters."""
        looked_at = self._batches % self.LOOKS == 1 and self._state is not None
        if looked_at and not _same(self._state, _states()):
            self._drawn_from = True
        if self._drawn_from or self._batches % self.LOOKS == 0:
            self._state = _states()
        self._batches += 1

    def put_back(self) -> None:
        """Draw again from the states kept; nobody has drawn where there are none of this batch."""
        if self._state is not None and (self._drawn_from or self._batches % self.LOOKS == 1):
            python, numpy = self._state
            random.setstate(python)
            np.random.set_state(numpy)


def _states() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state(legacy=False)


def _same(one: Any, other: Any) -> bool:
    numbers, others = one[1]["state"], other[1]["state"]
    return bool(
        one[0] == other[0] and numbers["pos"] == others["pos"] and np.array_equal(numbers["key"], others["key"])
    )


@dataclass(slots=True)
class _Sum:
    """A tensor that is summed up in place, and its value at ``version``."""

    tensor: Tensor
    version: int
    value: Tensor


@dataclass(slots=True)
class _Waiting:
    """What waited in a list, which only grows until another stands in its place."""

    items: list[Any]
    length: int


def mark(figures: Figures, last: dict[str, Any]) -> dict[str, Any]:
    """What ``undo`` makes of ``figures`` again. Sums are copied where they are, unless they are those of the ``last`` mark."""
    marks: dict[str, Any] = {}
    for name, value in vars(figures).items():
        # Not isinstance: torch's own check is a call of Python for everything that is no tensor.
        kind = type(value)
        if kind is Tensor:
            before = last.get(name)
            same = type(before) is _Sum and before.tensor is value and before.version == value._version
            marks[name] = before if same else _Sum(value, value._version, value.clone())
        elif kind is list:
            marks[name] = _Waiting(value, len(value))
        elif isinstance(value, Figures):
            marks[name] = mark(value, last.get(name, {}))
        else:
            marks[name] = value
    return marks


def undo(figures: Figures, marks: dict[str, Any]) -> None:
    """Make ``figures`` what they were when they were marked; the same marks serve again."""
    for name, value in marks.items():
        inner = getattr(figures, name)
        if isinstance(inner, Figures):
            undo(inner, value)
        elif isinstance(value, _Sum):
            setattr(figures, name, value.value.clone())
        elif isinstance(value, _Waiting):
            del value.items[value.length :]
            setattr(figures, name, value.items)
        else:
            setattr(figures, name, value)


def build_moment(policy: RecoveryPolicy, model: nn.Module, device: torch.device, figures: Figures | None) -> Moment:
    """One that is kept, where anything is to be recovered from."""
    if (policy.out_of_memory, policy.non_finite) == ("fail", "fail"):
        return Moment()
    return KeptMoment(model, device, figures)
