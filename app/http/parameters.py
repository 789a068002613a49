"""What is wrong with a parameter of a call, in the words of the input schema's errors: from what the OpenAPI document says of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.gate.patches import pointer
from app.gate.request_errors import said, shown
from app.gate.request_schema import Schema, describe
from app.gate.spellings import closest
from schemas.problems import RequestError


def wrong_parameter(flaw: Mapping[str, Any], operation: Mapping[str, Any]) -> RequestError:
    """The error of one ``flaw`` (of pydantic: where it is, its type, the value), of a call of ``operation``."""
    place = flaw["loc"]
    name = next((part for part in reversed(place) if isinstance(part, str)), "the body")
    schema = _schema_at(place, operation)
    expected = describe(schema) if schema else "another value"
    if flaw["type"] == "missing":
        message = f"{name} is missing; expected {expected}."
        return RequestError(pointer=pointer(place), code="parameter_invalid", message=message, expected=expected)
    value, allowed = flaw.get("input"), schema.get("enum")
    return RequestError(
        pointer=pointer(place),
        code="parameter_invalid",
        message=f"{name} is {said(value)}; expected {expected}.",
        got=shown(value),
        expected=expected,
        allowed=allowed,
        suggestion=closest(value, allowed, cutoff=0.6) if allowed and isinstance(value, str) else None,
    )


def _schema_at(place: Sequence[str | int], operation: Mapping[str, Any]) -> Schema:
    """The schema of what stands at ``place`` (``query``, name, and the number of an item); empty where there is none."""
    where, name = str(place[0]), str(place[1]) if len(place) > 1 else ""
    known: Iterable[Mapping[str, Any]] = operation.get("parameters", ())
    found = next((each for each in known if each["in"] == where and each["name"].lower() == name.lower()), None)
    schema = _present(found["schema"]) if found else {}
    return _present(schema.get("items", {})) if len(place) > 2 else schema


def _present(schema: Schema) -> Schema:
    """``schema`` without the null that means absent."""
    branches = [branch for branch in schema.get("anyOf", ()) if branch.get("type") != "null"]
    return branches[0] if len(branches) == 1 else schema
