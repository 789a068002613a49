"""Wrong values made right: "32" read as 32, a bound kept, the nearest allowed name."""

import math
import re
from collections.abc import Iterator
from typing import Any

from app.gate.patches import Path
from app.gate.request_errors import said
from app.gate.request_schema import Schema, is_valid, resolved
from app.gate.spellings import value_of

NOTHING: Any = object()

# A number can be spelt as text, but is no path.
_PATHS = ("Path", "Dir", "From")
# Keys of an object under which a name stands that was wanted alone.
NAMED_BY = ("name", "type", "class", "path")
_TRUE = frozenset({"true", "yes", "on", "1", "enabled"})
_FALSE = frozenset({"false", "no", "off", "0", "disabled", "none"})


def mend(name: str, value: Any, schema: Schema) -> Any:
    """A value like ``value`` that satisfies ``schema`` (of the property ``name``); NOTHING when none suggests itself."""
    schema = resolved(schema)
    if name.endswith(_PATHS) and isinstance(value, int | float):
        return NOTHING
    for candidate in _converted(name, value, schema):
        for mended in (candidate, *_fitted(name, candidate, schema)):
            if is_valid(mended, schema):
                return mended
    return NOTHING


def can_be_left_out(path: Path) -> bool:
    """Whether a value at ``path`` that says nothing may give way to the default. Not where it names a file: a run without the
    checkpoint, weights or data that were meant would be another run."""
    return not any(isinstance(part, str) and (part.endswith(_PATHS) or part == "weights") for part in path)


def left_out(schema: Schema) -> str:
    """What leaving out a property of ``schema`` comes to, as a sentence."""
    default = schema.get("default")
    if default is None or isinstance(default, dict | list):
        return "Left out, it has its default."
    return f"Left out, it is {said(default)}."


def _converted(name: str, value: Any, schema: Schema) -> Iterator[Any]:
    """``value`` read as each type that ``schema`` takes."""
    if isinstance(value, list) and len(value) == 1 and schema.get("type") != "array":
        value = value[0]
    for branch in map(resolved, schema.get("anyOf", [schema])):
        kind = branch.get("type")
        if kind in ("integer", "number"):
            yield from _numbers(value, whole=kind == "integer")
        elif kind == "boolean":
            yield from _truths(value)
        elif kind == "string":
            yield from _texts(value)
        elif kind == "array":
            yield from _lists(name, value, branch)
        elif kind == "object":
            yield from _objects(value, branch)


def _numbers(value: Any, *, whole: bool) -> Iterator[float]:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([-+]?[0-9_.,]*[0-9.](?:[eE][-+]?[0-9]{1,3})?)\s*(%?)\s*", value[:64])
        if match is None:
            return
        try:
            value = float(match[1].replace("_", "").replace(",", "")) / (100 if match[2] else 1)
        except ValueError:
            return
        value = int(value) if math.isfinite(value) and value.is_integer() else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return
    yield round(value) if whole else value


def _truths(value: Any) -> Iterator[bool]:
    word = str(value).strip().lower()
    if isinstance(value, str | int | float) and word in _TRUE | _FALSE:
        yield word in _TRUE


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, int | float):
        yield str(value)
    elif isinstance(value, dict):
        yield from (value[key] for key in NAMED_BY if isinstance(value.get(key), str))


def _objects(value: Any, schema: Schema) -> Iterator[dict[str, Any]]:
    """Options of which one says it all: true, the choice of a method, or the number that patience is."""
    if value is True:
        yield {}
    for key, option in schema.get("properties", {}).items():
        chosen = isinstance(value, str) and value in option.get("enum", ())
        counted = key == "patience" and isinstance(value, int) and not isinstance(value, bool)
        if chosen or counted:
            yield {key: value}


def _lists(name: str, value: Any, schema: Schema) -> Iterator[list[Any]]:
    items = value if isinstance(value, list) else [value]
    low, high = schema.get("minItems", 0), schema.get("maxItems")
    mended = [mend(name, item, schema.get("items", {})) for item in items]
    if not mended or any(item is NOTHING for item in mended):
        return
    # A size given with its channels: [3, 28, 28] or [28, 28, 3].
    if high is not None and len(mended) == high + 1:
        mended = mended[1:] if mended[0] in (1, 3) else mended[:high]
    yield mended * low if len(mended) == 1 and low > 1 else mended


def _fitted(name: str, value: Any, schema: Schema) -> Iterator[Any]:
    if isinstance(value, str):
        yield from _fitted_text(name, value, schema)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _fitted_number(value, schema)


def _fitted_text(name: str, value: str, schema: Schema) -> Iterator[str]:
    yield value.strip()
    if "enum" in schema or name == "monitor":
        found = value_of(name, value, schema.get("enum", ()))
        yield from () if found is None else (found,)
    if "pattern" in schema:
        words = [word for word in re.split(r"[^A-Za-z0-9]+", value) if word] or [""]
        camel = "".join([words[0], *(word[0].upper() + word[1:] for word in words[1:])])
        yield from (camel, f"val{camel[:1].upper()}{camel[1:]}") if name == "monitor" else (words[-1],)
    if "maxLength" in schema:
        yield value[: schema["maxLength"]]


def _fitted_number(value: float, schema: Schema) -> Iterator[float]:
    # A share given in percent (2 is rather a slip than 2 %); a sign too many.
    if schema.get("exclusiveMaximum") == 1 and value >= 5:
        yield value / 100
    if value < 0 and schema.get("exclusiveMinimum") == 0:
        yield -value
    if "minimum" in schema:
        yield max(value, schema["minimum"])
    if "maximum" in schema:
        yield min(value, schema["maximum"])
    if "default" in schema:
        yield schema["default"]
