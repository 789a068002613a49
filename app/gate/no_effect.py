"""Warnings of what a request asks for in vain."""

from typing import Any

from app.gate.patches import look, parts, remove
from app.gate.request_errors import wrong
from schemas.data import DataFormat
from schemas.effects import find_idle
from schemas.engines import EngineName
from schemas.isolation import IsolationLevel
from schemas.problems import RequestError


def no_effect_warnings(
    document: dict[str, Any],
    engine: EngineName | None,
    format: DataFormat | None,
    *,
    tracked: bool,
    isolation: IsolationLevel,
) -> list[RequestError]:
    """One warning for each setting in ``document`` that has no effect, with the fix that takes it out; ``tracked`` and
    ``isolation`` are what the service has, whatever a request says."""
    return [
        wrong(
            tuple(parts(idle.pointer)),
            "no_effect",
            f"{idle.name} has no effect: {idle.reason}.",
            got=look(document, parts(idle.pointer)),
            fix=[remove(parts(idle.pointer))],
        )
        for idle in find_idle(document, engine, format, tracked=tracked, isolation=isolation)
    ]
