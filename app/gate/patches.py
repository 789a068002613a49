"""JSON pointers (RFC 6901) and the application of a JSON Patch (RFC 6902)."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from schemas.problems import PatchOperation

Path = tuple[str | int, ...]

_MISSING = object()


def pointer(path: Iterable[str | int]) -> str:
    """The JSON pointer of ``path``: ``("a/b", 0)`` -> ``/a~1b/0``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def parts(text: str) -> list[str]:
    """The reference tokens of a JSON pointer."""
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def look(document: Any, path: Sequence[str | int], default: Any = None) -> Any:
    """What stands at ``path`` in ``document``, or ``default``."""
    for part in path:
        if isinstance(document, dict):
            document = document.get(part, _MISSING)
        elif isinstance(document, list) and isinstance(part, int):
            document = document[part] if 0 <= part < len(document) else _MISSING
        else:
            return default
        if document is _MISSING:
            return default
    return document


def has(document: Any, path: Sequence[str | int]) -> bool:
    """Whether something, null included, stands at ``path``."""
    return look(document, path, _MISSING) is not _MISSING


def apply(document: Any, operations: Iterable[PatchOperation]) -> Any:
    """``document`` with ``operations`` applied; what they do not touch is shared with it. Raises KeyError, IndexError or
    ValueError where a place does not exist."""
    for operation in operations:
        document = _apply(document, operation)
    return document


def opened(document: Any, way: Iterable[str | int]) -> tuple[Any, Any]:
    """A copy of ``document`` in which what stands at the end of ``way`` may be changed, and that; the rest is shared: a copy of
    all that a megabyte may hold takes a second. Raises as ``apply``."""
    changed = parent = copy.copy(document)
    for part in way:
        place = int(part) if isinstance(parent, list) else part
        parent[place] = copy.copy(parent[place])
        parent = parent[place]
    return changed, parent


def _apply(document: Any, operation: PatchOperation) -> Any:
    value = copy.deepcopy(operation.value)
    if operation.path == "":
        return value
    *way, last = parts(operation.path)
    changed, parent = opened(document, way)
    if isinstance(parent, list):
        index = len(parent) if last == "-" else int(last)
        if operation.op == "add":
            parent.insert(index, value)
        elif operation.op == "remove":
            del parent[index]
        else:
            parent[index] = value
    elif operation.op == "remove":
        del parent[last]
    else:
        parent[last] = value
    return changed


def add(path: Iterable[str | int], value: Any) -> PatchOperation:
    """Set ``value`` at ``path``."""
    return PatchOperation(op="add", path=pointer(path), value=value)


def replace(path: Iterable[str | int], value: Any) -> PatchOperation:
    """Put ``value`` in place of what stands at ``path``."""
    return PatchOperation(op="replace", path=pointer(path), value=value)


def remove(path: Iterable[str | int]) -> PatchOperation:
    """Take away what stands at ``path``."""
    return PatchOperation(op="remove", path=pointer(path))
