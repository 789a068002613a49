"""Metrics that do not fit the task, where the request says which it is. Their names are the schema's to judge."""

from collections.abc import Iterator
from typing import Any, get_args

from app.gate.patches import look, replace
from app.gate.request_errors import named, wrong
from schemas.losses import Task
from schemas.metrics import METRICS
from schemas.problems import RequestError

_PATH = ("trainingConfig", "metrics")


def misfit_errors(document: dict[str, Any]) -> Iterator[RequestError]:
    """The first metric of another task; its fix keeps those that fit."""
    task, names = look(document, ("trainingConfig", "task")), look(document, _PATH)
    if task not in get_args(Task) or not isinstance(names, list):
        return
    fits = [entry.name for entry in METRICS if task in entry.tasks]
    others = {entry.name: entry.tasks for entry in METRICS if task not in entry.tasks}
    misfit = next((place for place, name in enumerate(names) if isinstance(name, str) and name in others), None)
    if misfit is None:
        return
    path, name = (*_PATH, misfit), names[misfit]
    message = (
        f"{named(path)} {name} is for {' and '.join(others[name])}, but task is {task}; use one of {', '.join(fits)}."
    )
    # One fix for the whole list: taking one out would move the others.
    kept = [other for other in names if not (isinstance(other, str) and other in others)]
    yield wrong(path, "conflict", message, got=name, allowed=fits, fix=[replace(_PATH, kept)])
