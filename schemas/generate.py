"""Writes ``schemas/json`` and ``docs/request.md`` from the typed models: ``python -m schemas.generate [--check]``."""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from schemas.events import EVENT_DATA, Event
from schemas.plan import Plan
from schemas.problems import Problem
from schemas.reference import page
from schemas.request import TrainingRequest
from schemas.result import JobPayload

FOLDER = Path(__file__).parent / "json"
PAGE = Path(__file__).parents[1] / "docs" / "request.md"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, without titles for single properties: names of keys say as much."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _without_null(node: Any) -> Any:
    """Absent is spelt by leaving the key out, so ``anyOf [X, null]`` reads ``X`` and a null default disappears."""
    if isinstance(node, list):
        return [_without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _without_null(value) for key, value in node.items() if not (key == "default" and value is None)}
    kinds = node.get("anyOf")
    if isinstance(kinds, list) and {"type": "null"} in kinds:
        rest = [kind for kind in kinds if kind != {"type": "null"}]
        del node["anyOf"]
        node = {**rest[0], **node} if len(rest) == 1 else {**node, "anyOf": rest}
    return node


def _document(model: type[BaseModel], title: str) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_Generator)
    return {"$schema": DIALECT, **_without_null(schema), "title": title}


def _event_schema() -> dict[str, Any]:
    base = _document(Event, "pytorch-trainer event")
    definitions: dict[str, Any] = {}
    branches = []
    for name, data in EVENT_DATA.items():
        schema = _without_null(data.model_json_schema(by_alias=True, schema_generator=_Generator))
        definitions |= schema.pop("$defs", {})
        definitions[data.__name__] = schema
        branches.append({"properties": {"type": {"const": name}, "data": {"$ref": f"#/$defs/{data.__name__}"}}})
    return {
        **base,
        "properties": {**base["properties"], "type": {"enum": list(EVENT_DATA)}},
        "oneOf": branches,
        "$defs": definitions,
    }


def documents() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema, for every document clients see."""
    return {
        "input.schema.json": _document(TrainingRequest, "pytorch-trainer input"),
        "output.schema.json": _document(JobPayload, "pytorch-trainer output"),
        "event.schema.json": _event_schema(),
        "problem.schema.json": _document(Problem, "pytorch-trainer problem"),
        "plan.schema.json": _document(Plan, "pytorch-trainer plan"),
    }


def files() -> dict[Path, str]:
    """Path -> content of every generated file, for a source checkout."""
    schemas = documents()
    texts = {FOLDER / name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}
    return {**texts, PAGE: page(schemas["input.schema.json"])}


def main() -> int:
    """Write the files, or with ``--check`` say which ones are stale (exit 1)."""
    stale = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        print("".join(f"stale: {path}; run: make schemas\n" for path in stale), end="")
        return 1 if stale else 0
    for path in stale:
        path.write_text(files()[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
