"""Which checkpoint is the best of its run, as each checkpoint of the run keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BestCheckpoint:
    """The best so far: the one at ``path``, or (``is_self``) the very checkpoint that keeps this, whose path nobody knows
    before it is written. Neither: there is none."""

    path: str | None = None
    is_self: bool = False

    def found_at(self, own_path: str | None) -> str | None:
        """Its path, for who has read this in the checkpoint at ``own_path`` (None: one that was kept in memory); None where
        there is none."""
        return own_path if self.is_self else self.path

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as ``bestCheckpoint`` of its state."""
        return {"path": self.path, "isSelf": self.is_self}

    @staticmethod
    def of(state: Mapping[str, Any]) -> "BestCheckpoint":
        """What the ``state`` of a checkpoint says."""
        kept = state["bestCheckpoint"]
        return BestCheckpoint(kept["path"], kept["isSelf"])


ITSELF = BestCheckpoint(is_self=True)
