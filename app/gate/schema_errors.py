"""What the input schema refuses, as errors that name the place, the value, what is allowed, and the fix."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from jsonschema import ValidationError

from app.gate.finder_choices import search_instead
from app.gate.mending import NAMED_BY, NOTHING, can_be_left_out, left_out, mend
from app.gate.patches import Path, add, has, look, pointer, remove, replace
from app.gate.request_errors import MAX_ERRORS, named, said, wrong
from app.gate.request_schema import VALIDATOR, Schema, describe, resolved, schema_at
from app.gate.unknown_properties import UnknownProperties
from schemas.problems import PatchOperation, RequestError

# Where the arguments go of what is named here.
_ARGUMENTS: dict[Path, Path] = {
    ("trainingConfig", name): ("trainingConfig", f"{name}Args") for name in ("optimizer", "scheduler", "loss")
}

_CODES = {
    "type": "wrong_type",
    "anyOf": "wrong_type",
    "enum": "not_allowed",
    "pattern": "bad_format",
    "minimum": "out_of_range",
    "maximum": "out_of_range",
    "exclusiveMinimum": "out_of_range",
    "exclusiveMaximum": "out_of_range",
    "minItems": "too_few",
    "maxItems": "too_many",
    "maxProperties": "too_many",
    "minLength": "empty",
    "maxLength": "too_long",
}


def schema_errors(document: dict[str, Any]) -> list[RequestError]:
    """Everything in ``document`` that the input schema refuses, each place once, at most ``MAX_ERRORS``."""
    found = list(islice(_leaves(VALIDATOR.iter_errors(document)), MAX_ERRORS))
    unknown = UnknownProperties(document)
    errors: dict[tuple[str, str], RequestError] = {}
    # In the order of the answer: a client may apply one fix after the other.
    for place in sorted(_unknown_places(found), key=pointer)[:MAX_ERRORS]:
        errors[pointer(place), "key"] = unknown.error(place)
    for error in found:
        path: Path = tuple(error.absolute_path)
        if error.validator == "required":
            for missing in _missing(path, error, unknown.supplied):
                errors[missing.pointer, "required"] = missing
        elif error.validator != "additionalProperties":
            value_error = _value_error(document, path, error)
            errors.setdefault((value_error.pointer, "value"), value_error)
    return sorted(errors.values(), key=lambda error: error.pointer)[:MAX_ERRORS]


def _leaves(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    """Errors, those of an object among several allowed forms in place of the form's own."""
    for error in errors:
        inner = [sub for sub in error.context or () if isinstance(error.instance, dict) and sub.validator != "type"]
        yield from inner or [error]


def _unknown_places(found: Iterable[ValidationError]) -> set[Path]:
    return {
        (*error.absolute_path, key)
        for error in found
        if error.validator == "additionalProperties"
        for key in error.instance
        if key not in error.schema.get("properties", {})
    }


def _missing(path: Path, error: ValidationError, supplied: set[Path]) -> Iterator[RequestError]:
    for name in error.validator_value:
        here = (*path, name)
        if name in error.instance or here in supplied:
            continue
        schema = schema_at(here)
        empty = _may_be_empty(schema)
        yield wrong(
            here,
            "required",
            f"{named(here)} is missing; expected {describe(schema)}. {schema.get('description', '')}".strip(),
            expected=describe(schema),
            suggestion="{}" if empty else None,
            fix=[add(here, {})] if empty else None,
        )


def _value_error(document: dict[str, Any], path: Path, error: ValidationError) -> RequestError:
    if "propertyNames" in error.absolute_schema_path:
        return _long_key(path, error, look(document, (*path, error.instance)))
    schema, value = resolved(error.schema), error.instance
    # The places of a list are counted: taking one out would move the others.
    optional = path and isinstance(path[-1], str) and path[-1] not in schema_at(path[:-1]).get("required", ())
    # An item of a list goes by the name of the list.
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    mended = mend(name, value, schema)
    message = f"{named(path)} is {said(value)}; expected {describe(schema)}."
    fix = None
    if mended is not NOTHING:
        fix = [replace(path, mended), *_arguments_beside(document, path, value)]
    elif optional and _says_nothing(value, schema):
        fix = [remove(path)]
    elif value is None and _may_be_empty(schema):
        fix = [replace(path, {})]
    elif value == "auto" and (search := search_instead(document, path)):
        fix = search
    elif optional and can_be_left_out(path):
        fix = [remove(path)]
        message += f" {left_out(schema_at(path))}"
    code = _CODES.get(str(error.validator), "not_allowed")
    if code == "wrong_type" and "enum" in schema:
        code = "not_allowed"
    return wrong(
        path,
        code,
        message,
        got=value,
        expected=describe(schema),
        allowed=schema.get("enum"),
        suggestion=None if mended is NOTHING else mended,
        fix=fix,
    )


def _arguments_beside(document: dict[str, Any], path: Path, value: Any) -> list[PatchOperation]:
    """What stood beside the name of an optimizer, schedule or loss that was given as one object, in the place of its arguments."""
    home = _ARGUMENTS.get(path)
    if home is None or not isinstance(value, dict) or has(document, home):
        return []
    named_by = next((key for key in NAMED_BY if isinstance(value.get(key), str)), None)
    rest = {key: item for key, item in value.items() if key != named_by}
    inner = next(
        (rest[key] for key in ("args", "params", "kwargs") if len(rest) == 1 and isinstance(rest.get(key), dict)), rest
    )
    return [add(home, inner)] if inner else []


def _may_be_empty(schema: Schema) -> bool:
    """Whether it is a section without required properties: everything in it has a default."""
    return schema.get("type") == "object" and not schema.get("required")


def _says_nothing(value: Any, schema: Schema) -> bool:
    """Whether an optional property with this value can be left out without changing what was meant."""
    return value in ("", [], {}, None) or (value == 0 and schema.get("exclusiveMinimum") == 0)


def _long_key(path: Path, error: ValidationError, value: Any) -> RequestError:
    key, limit = error.instance, error.validator_value
    return wrong(
        (*path, key),
        "too_long",
        f"The key {said(key)} of {named(path)} has {len(key)} characters; at most {limit} are allowed.",
        got=key,
        expected=f"a key of at most {limit} characters",
        suggestion=key[:limit],
        fix=[remove((*path, key)), add((*path, key[:limit]), value)],
    )
