"""Names of engines to their doors. The heavy import happens at the door."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, cast

from schemas.assignment import Assignment, StopReason
from schemas.engines import ENGINES, EngineName
from schemas.result import Artifact
from trainer_core.channel import Channel
from trainer_core.stop import Stop


@dataclass(frozen=True)
class Ending:
    """How a run ended well, or was stopped: what an engine returns. Failures are raised. ``reason`` is why it was stopped,
    where several nodes had to agree on it."""

    state: Literal["succeeded", "early_stopped", "stopped"]
    artifacts: list[Artifact] = field(default_factory=list)
    reason: StopReason | None = None


Engine = Callable[[Assignment, Channel, Stop], Ending]


def door(name: EngineName) -> Engine:
    """The engine called ``name``, its libraries imported now."""
    module, function = ENGINES[name].door.split(":")
    return cast(Engine, getattr(importlib.import_module(module), function))
