"""The API's own description: what FastAPI finds in the routes, and the contract's schemas for bodies it reads raw."""

from typing import Any

from fastapi import FastAPI

from app.gate.envelope import SKILL
from app.gate.request_schema import Schema, load

_ENVELOPE: Schema = {
    "title": "Envelope",
    "description": "An orchestrator's task around the input; other keys are ignored.",
    "type": "object",
    "required": ["kind", "skill"],
    "properties": {
        "kind": {"const": "skill"},
        "title": {"type": "string"},
        "skill": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"const": SKILL},
                "context": {"$ref": "#/components/schemas/Input"},
                "prompt": {"type": "object", "properties": {"context": {"$ref": "#/components/schemas/Input"}}},
            },
        },
    },
}


class Api(FastAPI):
    """FastAPI, with the input, its envelope and the problem document among the schemas."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document["components"].setdefault("schemas", {})
            for name, schema in _contract().items():
                schemas.setdefault(name, schema)
            self.openapi_schema = document
        return self.openapi_schema


def _contract() -> dict[str, Schema]:
    found: dict[str, Schema] = {"Envelope": _ENVELOPE}
    for name, file in (("Input", "input"), ("Problem", "problem")):
        schema = _rooted(load(file))
        found |= schema.pop("$defs", {})
        found[name] = {key: value for key, value in schema.items() if key != "$schema"}
    return found


def _rooted(node: Any) -> Any:
    """``node`` with references to ``$defs`` turned into references to the document's components."""
    if isinstance(node, list):
        return [_rooted(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _rooted(value)
        for key, value in node.items()
    }
