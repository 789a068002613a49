"""Losses by name: what each is for, its arguments, and the names it also answers to."""

from dataclasses import dataclass
from typing import Literal

Task = Literal["classification", "binary", "regression"]


@dataclass(frozen=True)
class LossEntry:
    """One loss: canonical name, other spellings, tasks it fits, arguments."""

    name: str
    aliases: tuple[str, ...]
    tasks: tuple[Task, ...]
    arguments: tuple[str, ...] = ()


LOSSES = (
    LossEntry(
        "cross_entropy",
        ("crossentropy", "crossentropyloss", "ce", "nllloss"),
        ("classification",),
        ("weight", "ignore_index"),
    ),
    LossEntry("focal", ("focalloss",), ("classification",), ("gamma", "alpha")),
    LossEntry(
        "bce", ("bcewithlogits", "bcewithlogitsloss", "bceloss", "binary_cross_entropy"), ("binary",), ("pos_weight",)
    ),
    LossEntry("mse", ("mseloss", "l2"), ("regression",)),
    LossEntry("l1", ("l1loss", "mae"), ("regression",)),
    LossEntry("huber", ("huberloss", "smoothl1", "smoothl1loss"), ("regression",), ("delta",)),
)


def find_loss(name: str) -> LossEntry | None:
    """The loss called ``name`` or one of its other spellings, in any case; None when there is none."""
    key = name.lower().replace("_", "").replace("-", "")
    spellings = (
        {entry.name.replace("_", ""), *(alias.replace("_", "") for alias in entry.aliases)} for entry in LOSSES
    )
    return next((entry for entry, names in zip(LOSSES, spellings, strict=True) if key in names), None)
