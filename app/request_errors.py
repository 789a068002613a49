"""What the input schema refuses, as errors that name the place, the value, what is allowed, and the fix."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from jsonschema import ValidationError

from app.mending import NOTHING, mend
from app.patches import Path, add, has, look, pointer, remove, replace
from app.request_schema import VALIDATOR, Schema, describe, resolved, schema_at
from app.spellings import closest, home_of, near_home_of, normal
from schemas.losses import LOSSES
from schemas.optimizers import OPTIMIZERS, find_optimizer
from schemas.problems import PatchOperation, RequestError
from schemas.schedules import find_schedule

MAX_ERRORS = 100
SHOWN_CHARACTERS = 200

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


def shown(value: Any) -> Any:
    """``value``, or where it is long the beginning of its JSON, at most 200 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def named(path: Iterable[str | int]) -> str:
    """``path`` as people write it: ``trainingConfig.epochs``."""
    text = ".".join(str(part) for part in path)
    return (text if len(text) <= 80 else text[:79] + "…") or "The input"


def said(value: Any) -> str:
    """``value`` inside a sentence."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def wrong(
    path: Path,
    code: str,
    message: str,
    *,
    got: Any = None,
    expected: str | None = None,
    allowed: list[Any] | None = None,
    suggestion: Any = None,
    fix: list[PatchOperation] | None = None,
) -> RequestError:
    """An error at ``path`` of the input."""
    return RequestError(
        pointer=pointer(path),
        code=code,
        message=message,
        got=shown(got),
        expected=expected,
        allowed=allowed,
        suggestion=None if suggestion is None else suggestion if isinstance(suggestion, str) else said(suggestion),
        fix=fix,
    )


def schema_errors(document: dict[str, Any]) -> list[RequestError]:
    """Everything in ``document`` that the input schema refuses, each place once, at most ``MAX_ERRORS``."""
    found = list(islice(_leaves(VALIDATOR.iter_errors(document)), MAX_ERRORS))
    unknown = [error for error in found if error.validator == "additionalProperties"]
    moves = _Moves(document)
    errors: dict[tuple[str, str], RequestError] = {}
    for error in unknown:
        for key in _extras(error):
            if len(errors) < MAX_ERRORS:
                found_here = moves.unknown(tuple(error.absolute_path), key)
                errors[found_here.pointer, "key"] = found_here
    for error in found:
        path: Path = tuple(error.absolute_path)
        if error.validator == "required":
            for missing in _missing(path, error, moves.supplied):
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


def _extras(error: ValidationError) -> list[str]:
    return [key for key in error.instance if key not in error.schema.get("properties", {})]


def _missing(path: Path, error: ValidationError, supplied: set[Path]) -> Iterator[RequestError]:
    for name in error.validator_value:
        here = (*path, name)
        if name in error.instance or here in supplied:
            continue
        schema = schema_at(here)
        # A section without required properties may be empty: everything in it has a default.
        empty = schema.get("type") == "object" and not schema.get("required")
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
    optional = path and path[-1] not in schema_at(path[:-1]).get("required", ())
    mended = mend(str(path[-1]) if path else "", value, schema)
    fix = None
    if mended is not NOTHING:
        fix = [replace(path, mended)]
    elif optional and _says_nothing(value, schema):
        fix = [remove(path)]
    code = _CODES.get(str(error.validator), "not_allowed")
    if code == "wrong_type" and "enum" in schema:
        code = "not_allowed"
    return wrong(
        path,
        code,
        f"{named(path)} is {said(value)}; expected {describe(schema)}.",
        got=value,
        expected=describe(schema),
        allowed=schema.get("enum"),
        suggestion=None if mended is NOTHING else mended,
        fix=fix,
    )


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


class _Moves:
    """Unknown properties of one document, and where each of them belongs; no two to the same place."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.supplied: set[Path] = set()

    def unknown(self, path: Path, key: str) -> RequestError:
        """The error for the unknown property ``key`` of the object at ``path``."""
        here, value = (*path, key), look(self._document, (*path, key))
        home = self._home(path, key, value)
        declared = sorted(schema_at(path).get("properties", {}))
        message = f"{named(path)} has no property {said(key)}."
        if home is None:
            fix: list[PatchOperation] | None = [remove(here)]
            message += " Take it out; for data of your own there is labels."
        elif has(self._document, home) or home in self.supplied:
            fix = [remove(here)]
            message += f" It means {named(home)}, which is set already: take this one out."
        else:
            fix = self._move(here, home, value)
            message += f" Use {named(home)}."
        return wrong(
            here,
            "unknown_property",
            message,
            got=value,
            allowed=list(declared),
            suggestion=None if home is None else str(home[-1]) if home[:-1] == path else named(home),
            fix=fix,
        )

    def _home(self, path: Path, key: str, value: Any) -> Path | None:
        siblings = schema_at(path).get("properties", {})
        same = next((name for name in siblings if normal(name) == normal(key)), None)
        if same is not None:
            return (*path, same)
        home = home_of(key, value) or self._argument_home(path, key)
        if home is not None:
            return home
        near = closest(key, siblings)
        return (*path, near) if near else near_home_of(key)

    def _argument_home(self, path: Path, key: str) -> Path | None:
        """Arguments of the optimizer, schedule or loss that stand a level too high."""
        if path not in ((), ("trainingConfig",)):
            return None
        optimizer = find_optimizer(self._name("optimizer", "AdamW"))
        schedule = find_schedule(self._name("scheduler", "cosine"))
        if any(key in entry.arguments for entry in ([optimizer] if optimizer else OPTIMIZERS)):
            return "trainingConfig", "optimizerArgs", key
        if schedule and key in schedule.arguments:
            return "trainingConfig", "schedulerArgs", key
        if any(key in loss.arguments for loss in LOSSES):
            return "trainingConfig", "lossArgs", key
        return None

    def _name(self, key: str, default: str) -> str:
        name = look(self._document, ("trainingConfig", key), default)
        return name if isinstance(name, str) else default

    def _move(self, here: Path, home: Path, value: Any) -> list[PatchOperation] | None:
        ways = [home[:length] for length in range(1, len(home))]
        if any(has(self._document, way) and not isinstance(look(self._document, way), dict) for way in ways):
            return None
        schema = schema_at(home)
        mended = value if VALIDATOR.evolve(schema=schema).is_valid(value) else mend(str(home[-1]), value, schema)
        self.supplied.update([home, *ways])
        if mended is NOTHING and schema.get("type") != "object":
            return None
        parents = [add(way, {}) for way in ways if not has(self._document, way)]
        return [remove(here), *parents, add(home, value if mended is NOTHING else mended)]
