"""What is wrong with a parameter of a call, in the words of the input schema's errors: from what the OpenAPI document says of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.gate.patches import pointer
from app.gate.request_errors import said, shown
from app.gate.request_schema import Schema, describe
from app.gate.spellings import closest
from schemas.problems import RequestError


def wrong_parameter(flaw: Mapping[str, Any], operation: Mapping[str, Any], document: Schema) -> RequestError:
    """The error of one ``flaw`` (of pydantic: where it is, its type, the value), of a call of ``operation`` of the ``document``.
    Where it is: ``query``, name, and the number of an item; or, of a body, its names and numbers alone."""
    place = flaw["loc"]
    name = next((part for part in reversed(place) if isinstance(part, str)), "the body")
    if flaw["type"] == "extra_forbidden":
        known = [*_schema_at(place[:-1], operation, document).get("properties", {})]
        return RequestError(
            pointer=pointer(place),
            code="parameter_invalid",
            message=f"{name} is no property here; known are {', '.join(known)}.",
            got=shown(flaw.get("input")),
            allowed=known,
            suggestion=closest(name, known, cutoff=0.6),
        )
    schema = _schema_at(place, operation, document)
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


def _schema_at(place: Sequence[str | int], operation: Mapping[str, Any], document: Schema) -> Schema:
    """The schema of what stands at ``place``; empty where there is none."""
    known: Iterable[Mapping[str, Any]] = operation.get("parameters", ())
    where, name = (str(part).lower() for part in (*place, "", "")[:2])
    found = next((each for each in known if each["in"] == where and each["name"].lower() == name), None)
    schema, rest = (found["schema"], place[2:]) if found else (_of_body(operation), place)
    schema = _present(schema, document)
    for part in rest:
        inner = schema.get("items", {}) if isinstance(part, int) else schema.get("properties", {}).get(part, {})
        schema = _present(inner, document)
    return schema


def _of_body(operation: Mapping[str, Any]) -> Schema:
    content = operation.get("requestBody", {}).get("content", {})
    schema: Schema = content.get("application/json", {}).get("schema", {})
    return schema


def _present(schema: Schema, document: Schema) -> Schema:
    """``schema``, looked up where it is named, without the null that means absent."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    branches = [branch for branch in schema.get("anyOf", ()) if branch.get("type") != "null"]
    return branches[0] if len(branches) == 1 else schema
