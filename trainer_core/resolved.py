"""The request with everything filled in that the worker chose: what a run is, as a request that can be made again."""

from collections.abc import Iterable
from typing import Any, cast

from schemas.data import DataFormat
from schemas.effects import Idle, find_idle, holds, without
from schemas.engines import EngineName
from schemas.events import Alert
from schemas.request import TrainingRequest

_ENGINE, _FORMAT = "/engine", "/dataConfig/format"


def fill_in(
    request: TrainingRequest, choices: dict[str, Any], further: Iterable[Idle] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request as JSON with every one of ``choices`` (JSON pointer -> value) set, and those that it had left open.

    What has no effect (by engine and format, which are among the choices, and ``further`` settings) is left out, unless it
    is a choice: nobody reads there what never ran.
    """
    whole: dict[str, Any] = request.to_json()
    resolved = without(whole, (idle.pointer for idle in _idle(whole, choices, further)))
    chosen = {}
    for pointer, value in choices.items():
        *folders, name = pointer.removeprefix("/").split("/")
        place = resolved
        for folder in folders:
            place = place.setdefault(folder, {})
        if name not in place or place[name] != value:
            chosen[pointer] = value
        place[name] = value
    return resolved, chosen


def idle_alerts(request: TrainingRequest, choices: dict[str, Any], further: Iterable[Idle] = ()) -> list[Alert]:
    """A ``no_effect`` alert for each reason for which something that was asked for has no effect, naming all of it."""
    by_reason: dict[str, list[Idle]] = {}
    for idle in _idle(request.given(), choices, further):
        by_reason.setdefault(idle.reason, []).append(idle)
    return [
        Alert(
            code="no_effect",
            level="warning",
            message=f"Without effect: {', '.join(idle.name for idle in found)}. The reason: {reason}.",
            evidence={"pointers": [idle.pointer for idle in found]},
            remedy="Leave it out of the request." if len(found) == 1 else "Leave them out of the request.",
        )
        for reason, found in by_reason.items()
    ]


def _idle(request: dict[str, Any], choices: dict[str, Any], further: Iterable[Idle]) -> list[Idle]:
    engine, format = cast(EngineName, choices[_ENGINE]), cast(DataFormat, choices[_FORMAT])
    found = find_idle(request, engine, format)
    known = {idle.pointer for idle in found}
    return [*found, *(idle for idle in further if idle.pointer not in known and holds(request, idle.pointer))]
