"""Formats of export that this installation cannot make. Their names are the schema's to judge."""

from collections.abc import Collection, Iterator
from typing import Any

from app.gate.patches import look, replace
from app.gate.request_errors import wrong
from schemas.exporting import EXPORTS, ExportFormat
from schemas.problems import RequestError

_PATH = ("exportConfig", "formats")


def export_errors(document: dict[str, Any], there: Collection[ExportFormat]) -> Iterator[RequestError]:
    """The first format that is not ``there``; its fix keeps those that are."""
    names = look(document, _PATH)
    if not isinstance(names, list):
        return
    away = [name for name in EXPORTS if name not in there]
    place = next((place for place, name in enumerate(names) if name in away), None)
    if place is None:
        return
    name = names[place]
    needs = ", ".join(EXPORTS[name].needs)
    message = (
        f"exportConfig.formats names {name}, which needs {needs}, not all of them installed. Have the owner run: "
        f"pip install 'pytorch-trainer[{name}]'; or export to {', '.join(there)}."
    )
    # One fix for the whole list: taking one out would move the others.
    kept = [other for other in names if other not in away]
    yield wrong((*_PATH, place), "not_available", message, got=name, allowed=list(there), fix=[replace(_PATH, kept)])
