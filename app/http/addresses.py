"""What there is at an address, and near one at which there is nothing: by the templates of the OpenAPI document."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from app.gate.spellings import closest

_HOLE = re.compile(r"\{[^{}]+\}")


def methods_at(path: str, templates: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The methods that are taken at ``path``, in capitals; ``templates`` are the document's ``paths``."""
    found = (methods for template, methods in templates.items() if _pattern(template).fullmatch(path))
    return sorted({method.upper() for methods in found for method in methods})


def nearest(path: str, templates: Iterable[str]) -> str | None:
    """The address most like ``path``, with the names in it where a template has holes for them; None where none is like it."""
    segments = path.split("/")
    return closest(path, [_filled(template.split("/"), segments) for template in templates], cutoff=0.6)


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, _HOLE.split(template))))


def _filled(template: list[str], segments: list[str]) -> str:
    if len(template) != len(segments):
        return "/".join(template)
    pairs = zip(template, segments, strict=True)
    return "/".join(said if said and _HOLE.fullmatch(part) else part for part, said in pairs)
