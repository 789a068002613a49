"""A level of isolation that cannot be had, or with which the rest of the request cannot be done."""

from collections.abc import Iterator
from typing import Any

from app.gate.patches import look
from app.gate.request_errors import wrong
from app.isolation import available, why_not
from schemas.isolation import LEVELS, IsolationLevel, stricter
from schemas.problems import RequestError

_ISOLATION = ("resources", "isolation")
_NODES = ("trainingConfig", "numNodes")


def isolation_errors(document: dict[str, Any], least: IsolationLevel) -> Iterator[RequestError]:
    """What a level that was asked for meets with, where ``least`` is the service's own. There is no fix: a weaker level is
    for the asker to choose."""
    wanted = look(document, _ISOLATION)
    level = next((level for level in LEVELS if level == wanted), None)
    reason = None if level is None else why_not(level)
    if reason is not None:
        message = f"resources.isolation is {wanted}, which this machine cannot give. {reason}."
        yield wrong(_ISOLATION, "not_available", message, got=wanted, allowed=list(available()))
    nodes = look(document, _NODES)
    if isinstance(nodes, int) and nodes > 1 and stricter(least, level) == "contained":
        message = (
            f"trainingConfig.numNodes is {nodes}, but the worker would be contained: it has no network to meet over."
        )
        yield wrong(_NODES, "conflict", message, got=nodes)
