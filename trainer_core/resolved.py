"""The request with everything filled in that the worker chose: what a run is, as a request that can be made again."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from schemas.assignment import Assignment
from schemas.data import DataFormat
from schemas.effects import Idle, find_idle, holds, idle_isolation, without
from schemas.engines import EngineName
from schemas.events import Alert
from schemas.request import TrainingRequest

_ENGINE, _FORMAT = "/engine", "/dataConfig/format"


@dataclass(frozen=True)
class Unsaid:
    """A choice for which a request has no word (``name`` is ours): it stands among the chosen, and its place in the
    resolved request stays empty, which means it. Without a name: a setting whose place another choice takes."""

    name: str | None = None


def fill_in(
    request: TrainingRequest, choices: dict[str, Any], further: Iterable[Idle] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request as JSON with every one of ``choices`` (JSON pointer -> value or ``Unsaid``) made, and those that it had
    left open. Posted, it is taken, and means the same run.

    What has no effect (by engine and format, which are among the choices, beside what was chosen, and ``further``
    settings) is left out, unless it is a choice: nobody reads there what never ran.
    """
    filled: dict[str, Any] = request.to_json()
    chosen = {}
    for pointer, value in choices.items():
        *folders, name = pointer.removeprefix("/").split("/")
        place = filled
        for folder in folders:
            place = place.setdefault(folder, {})
        said = value.name if isinstance(value, Unsaid) else value
        if said is not None and (name not in place or place[name] != said):
            chosen[pointer] = said
        if isinstance(value, Unsaid):
            place.pop(name, None)
        else:
            place[name] = value
    idle = (idle.pointer for idle in _idle(filled, choices, further) if idle.pointer not in choices)
    return without(filled, idle), chosen


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


def idle_in(assignment: Assignment) -> list[Idle]:
    """What the request asks for in vain because of what the service has decided for the attempt."""
    return list(idle_isolation(assignment.request.given(), assignment.isolation))


def _idle(request: dict[str, Any], choices: dict[str, Any], further: Iterable[Idle]) -> list[Idle]:
    engine, format = cast(EngineName, choices[_ENGINE]), cast(DataFormat, choices[_FORMAT])
    found = find_idle(request, engine, format)
    known = {idle.pointer for idle in found}
    return [*found, *(idle for idle in further if idle.pointer not in known and holds(request, idle.pointer))]
