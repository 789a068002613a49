"""Problem documents and errors of a run, as text for people."""

import json
from collections.abc import Iterator
from typing import Any

from schemas.text import untrusted

Json = dict[str, Any]

_MOST_CHOICES = 10


def problem_text(problem: Json) -> str:
    """A refusal: what, every error with its way out, and the next move."""
    errors = problem.get("errors", [])
    lines = [f"{shown(problem['title'])} ({problem['code']})"]
    if [problem["detail"]] != [error["message"] for error in errors]:
        lines.append(shown(problem["detail"]))
    for number, error in enumerate(errors, start=1):
        lines.extend(error_lines(error, number))
    if problem.get("suggestedInput") is not None:
        lines.append("The input with all fixes applied stands in the problem document under suggestedInput.")
    return "\n".join(lines)


def error_lines(error: Json, number: int) -> Iterator[str]:
    """One error of a request: its place and message, then what was found, what is wanted and how to mend it."""
    yield f"  {number}. {error['pointer'] or '(the whole request)'}: {shown(error['message'])}"
    if "got" in error:
        yield f"     got         {value(error['got'])}"
    if error.get("expected"):
        yield f"     expected    {shown(error['expected'])}"
    if error.get("allowed"):
        yield f"     allowed     {_choices(error['allowed'])}"
    if error.get("suggestion"):
        yield f"     suggestion  {shown(error['suggestion'])}"
    if error.get("fix"):
        yield f"     fix         {'; '.join(operation_text(operation) for operation in error['fix'])}"


def _choices(allowed: list[Any]) -> str:
    further = len(allowed) - _MOST_CHOICES
    listed = ", ".join(value(item) for item in allowed[:_MOST_CHOICES])
    return f"{listed} and {further} more (--json shows them)" if further > 0 else listed


def operation_text(operation: Json) -> str:
    """``replace /trainingConfig/optimizer by "AdamW"``."""
    if operation["op"] == "remove":
        return f"remove {operation['path']}"
    word = {"add": "as", "replace": "by"}[operation["op"]]
    return f"{operation['op']} {operation['path']} {word} {value(operation.get('value'))}"


def failure_text(error: Json) -> str:
    """Why a run failed: code, message, place, what user code said, next move."""
    lines = [f"The training failed: {error['code']}: {shown(error['message'])}"]
    if place := error.get("place"):
        lines.append(f"  at {_place_text(place)}")
    if said := error.get("untrusted"):
        tail = untrusted(said).strip().splitlines()[-12:]
        lines.extend(f"  | {line}" for line in tail)
    lines.append(f"Next: {shown(error['nextMove'])}")
    return "\n".join(lines)


def _place_text(place: Json) -> str:
    parts = [shown(place["path"])] if "path" in place else []
    parts.extend(f"{name} {shown(found)}" for name, found in place.items() if name not in ("path", "pointer"))
    if "pointer" in place:
        parts.append(f"({place['pointer']} of the request)")
    return ", ".join(parts)


def value(found: Any) -> str:
    """A JSON value on one line, shortened."""
    return shown(json.dumps(found, ensure_ascii=False), 200)


def shown(text: Any, limit: int = 1000) -> str:
    """Text of another process on a terminal: no control characters, no end."""
    return untrusted(str(text), limit)
