"""Losses by name: what each is for, its arguments, and the names it also answers to."""

from dataclasses import dataclass
from typing import Literal

from schemas.arguments import Argument, Entry, find
from schemas.kinds import Either, Number, Several, Whole

Task = Literal["classification", "binary", "regression"]


@dataclass(frozen=True)
class LossEntry(Entry):
    """One loss: the tasks it fits, the one it is taken for when a request names none, whether it can smooth labels."""

    tasks: tuple[Task, ...] = ()
    default_for: Task | None = None
    label_smoothing: bool = False


_WEIGHTS = Several(Number(minimum=0))

LOSSES = (
    LossEntry(
        "cross_entropy",
        ("crossentropy", "crossentropyloss", "ce", "nllloss"),
        (
            Argument("weight", _WEIGHTS),
            Argument("ignore_index", Whole(minimum=-(2**31), maximum=2**31 - 1), -100),
        ),
        tasks=("classification",),
        default_for="classification",
        label_smoothing=True,
    ),
    LossEntry(
        "focal",
        ("focalloss",),
        (
            Argument("gamma", Number(minimum=0), 2.0),
            Argument("alpha", Either((Number(minimum=0, maximum=1), _WEIGHTS))),
        ),
        tasks=("classification",),
    ),
    LossEntry(
        "bce",
        ("bcewithlogits", "bcewithlogitsloss", "bceloss", "binary_cross_entropy"),
        (Argument("pos_weight", Either((Number(minimum=0), _WEIGHTS))),),
        tasks=("binary",),
        default_for="binary",
    ),
    LossEntry("mse", ("mseloss", "l2"), tasks=("regression",), default_for="regression"),
    LossEntry("l1", ("l1loss", "mae"), tasks=("regression",)),
    LossEntry(
        "huber",
        ("huberloss", "smoothl1", "smoothl1loss"),
        (Argument("delta", Number(above=0), 1.0),),
        tasks=("regression",),
    ),
)


def find_loss(name: str) -> LossEntry | None:
    """The loss called ``name`` or one of its other spellings, in any case; None when there is none."""
    return find(LOSSES, name)


def default_loss(task: Task) -> LossEntry:
    """The loss of a request that names none."""
    return next(entry for entry in LOSSES if entry.default_for == task)
