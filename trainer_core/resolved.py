"""The request with everything filled in that the worker chose: what a run is, as a request that can be made again."""

from typing import Any

from schemas.request import TrainingRequest


def fill_in(request: TrainingRequest, choices: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request as JSON with every one of ``choices`` (JSON pointer -> value) set, and those that it had left open."""
    resolved: dict[str, Any] = request.to_json()
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
