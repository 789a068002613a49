"""Parameter groups that contradict themselves. What their patterns match only the worker learns."""

from collections.abc import Iterator
from typing import Any

from app.gate.patches import Path, look, remove
from app.gate.request_errors import named, said, wrong
from schemas.optimizers import find_optimizer
from schemas.problems import RequestError

_PATH = ("trainingConfig", "parameterGroups")


def group_errors(document: dict[str, Any]) -> Iterator[RequestError]:
    """A rate said twice, a weight decay that the optimizer does not have."""
    groups = look(document, _PATH)
    for index, group in enumerate(groups if isinstance(groups, list) else []):
        if isinstance(group, dict):
            yield from _of_group(document, group, (*_PATH, index))


def _of_group(document: dict[str, Any], group: dict[str, Any], place: Path) -> Iterator[RequestError]:
    if "learningRate" in group and "learningRateFactor" in group:
        path = (*place, "learningRateFactor")
        message = f"{named(path)} stands beside learningRate; keep one of them."
        yield wrong(path, "conflict", message, got=group["learningRateFactor"], fix=[remove(path)])
    optimizer, decay = look(document, ("trainingConfig", "optimizer")), group.get("weightDecay")
    entry = find_optimizer(optimizer) if isinstance(optimizer, str) else None
    if entry is not None and not entry.takes_weight_decay and isinstance(decay, int | float) and decay > 0:
        path = (*place, "weightDecay")
        message = f"{named(path)} is {said(decay)}, but {entry.name} has no weight decay."
        yield wrong(path, "conflict", message, got=decay, fix=[remove(path)])
