"""The input schema as the gate uses it: its validator, what is declared where, and nulls that mean absent."""

import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

from app.gate.patches import Path

Schema = dict[str, Any]


def load(name: str) -> Schema:
    """The JSON Schema ``name`` of the contract: ``input``, ``output``, ``event``, ``problem``, ``plan``, ``seed.output``."""
    schema: Schema = json.loads(files("schemas").joinpath("json", f"{name}.schema.json").read_bytes())
    return schema


INPUT: Schema = load("input")
VALIDATOR = Draft202012Validator(INPUT)


def resolved(schema: Schema) -> Schema:
    """``schema`` with a reference to ``$defs`` at its top followed."""
    reference = schema.get("$ref")
    return resolved(INPUT["$defs"][reference.removeprefix("#/$defs/")]) if reference else schema


def schema_at(path: Path) -> Schema:
    """The schema of the property at ``path``; empty where anything goes or nothing is declared."""
    schema = INPUT
    for part in path:
        schema = resolved(schema)
        if isinstance(part, int):
            schema = schema.get("items", {})
        elif part in schema.get("properties", {}):
            schema = schema["properties"][part]
        else:
            further = schema.get("additionalProperties", {})
            schema = further if isinstance(further, dict) else {}
    return resolved(schema)


def is_valid(value: Any, schema: Schema) -> bool:
    """Whether ``value`` satisfies ``schema``, a part of the input schema."""
    return bool(VALIDATOR.evolve(schema=schema).is_valid(value))


def without_nulls(value: Any, schema: Schema = INPUT) -> Any:
    """``value`` without those declared optional properties that are null: clients of strict schemas send them so.

    Free-form objects (arguments, labels, tags) keep theirs.
    """
    schema = _object_branch(resolved(schema))
    declared, required = schema.get("properties", {}), schema.get("required", ())
    if not isinstance(value, dict):
        return value
    return {
        key: without_nulls(item, declared.get(key, {}))
        for key, item in value.items()
        if item is not None or key not in declared or key in required
    }


def _object_branch(schema: Schema) -> Schema:
    branches = [resolved(branch) for branch in schema.get("anyOf", ())]
    return next((branch for branch in branches if branch.get("type") == "object"), schema)


def homes(schema: Schema = INPUT, path: Path = ()) -> dict[Path, Schema]:
    """Path of every declared property, at any depth, to its schema."""
    found: dict[Path, Schema] = {}
    for name, declared in _object_branch(resolved(schema)).get("properties", {}).items():
        found[(*path, name)] = resolved(declared)
        found |= homes(declared, (*path, name))
    return found


_NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


def describe(schema: Schema) -> str:
    """What ``schema`` expects, in words: ``a whole number from 1 to 256``."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return ", or ".join(describe(branch) for branch in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    noun = _NOUNS.get(schema.get("type", ""), "any value")
    return f"{noun}{_bounds(schema)}{_lengths(schema)}"


def _bounds(schema: Schema) -> str:
    low, above, high, below = (
        int(bound) if isinstance(bound := schema.get(key), float) and bound.is_integer() else bound
        for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    )
    words = [f"of {low} or more"] if low is not None else []
    words += [f"greater than {above}"] if above is not None else []
    words += [f"at most {high}"] if high is not None else []
    words += [f"less than {below}"] if below is not None else []
    return "".join((" " if index == 0 else " and ") + word for index, word in enumerate(words))


def _lengths(schema: Schema) -> str:
    if schema.get("minLength"):
        return ", not empty"
    matching = f" that matches {schema['pattern']}" if "pattern" in schema else ""
    if "maxLength" in schema:
        return f" of at most {schema['maxLength']} characters{matching}"
    if schema.get("minItems") is not None and schema.get("minItems") == schema.get("maxItems"):
        return f" of {schema['minItems']} items"
    if "minItems" in schema:
        return ", not empty"
    return f" of at most {schema['maxProperties']} entries" if "maxProperties" in schema else matching
