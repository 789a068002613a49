"""The input inside whatever an orchestrator wraps around it."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from app.gate.patches import Path, add, look, replace
from app.gate.raw_json import MalformedJson, read_json
from app.gate.request_errors import said, wrong
from schemas.problems import RequestError

SKILL = "pytorch-trainer"


@dataclass(frozen=True)
class Unwrapped:
    """The input, and where it stands in the document that was sent. With errors, there may be no input."""

    input: dict[str, Any] | None
    base: Path
    errors: list[RequestError]


def unwrap(document: Any) -> Unwrapped:
    """The bare input, or ``skill.context`` or ``skill.prompt.context`` of a task envelope.

    Pointers of the errors refer to ``document``. Other keys of an envelope are its writer's business.
    """
    if not isinstance(document, dict):
        return Unwrapped(None, (), [_no_object(document)])
    if "skill" not in document and ("kind" not in document or "modelPath" in document):
        # Some orchestrators put their own context beside the input.
        return Unwrapped({key: value for key, value in document.items() if key != "context"}, (), [])
    errors = [*_identity(document, ("kind",), "skill"), *_identity(document, ("skill", "name"), SKILL)]
    skill = document.get("skill")
    if not isinstance(skill, dict):
        message = f'An envelope holds the input in skill.context: {{"kind": "skill", "skill": {{"name": "{SKILL}", "context": {{...}}}}}}.'
        return Unwrapped(None, (), [*errors, wrong(("skill",), "required", message, got=skill, expected="an object")])
    base: Path = ("skill", "context")
    if look(document, base) is None and isinstance(skill.get("prompt"), dict):
        base = ("skill", "prompt", "context")
    context = look(document, base)
    if isinstance(context, dict):
        return Unwrapped(context, base, errors)
    message = f"The input is expected in skill.context, as an object; found {said(context)}."
    fix = [replace(base, read)] if (read := _read(context)) is not None else None
    return Unwrapped(
        None, base, [*errors, wrong(base, "required", message, got=context, expected="an object", fix=fix)]
    )


def _read(context: Any) -> dict[str, Any] | None:
    """The object that ``context`` is the JSON text of: some clients write an argument as text."""
    with suppress(MalformedJson):
        found = read_json(context.encode(errors="surrogatepass")) if isinstance(context, str) else None
        return found if isinstance(found, dict) else None
    return None


def _no_object(document: Any) -> RequestError:
    message = f"The body is {said(document)}; expected a JSON object: the input, or an envelope around it."
    return wrong((), "wrong_type", message, got=document, expected="an object")


def _identity(document: dict[str, Any], path: Path, right: str) -> list[RequestError]:
    found = look(document, path)
    parent = look(document, path[:-1])
    if found == right or not isinstance(parent, dict):
        return []
    name = ".".join(map(str, path))
    code = "required" if found is None else "not_allowed"
    message = f"{name} is {said(found)}; this service takes {said(right)}."
    fix = [add(path, right) if path[-1] not in parent else replace(path, right)]
    return [wrong(path, code, message, got=found, allowed=[right], suggestion=right, fix=fix)]
