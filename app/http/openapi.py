"""The API's own description: what FastAPI finds in the routes, and the contract's schemas for bodies it reads raw."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from app.gate.envelope import SKILL
from app.gate.request_schema import Schema, load
from app.http.accounting import Accounting
from app.http.scopes import needed
from app.observing.metrics import Metrics
from app.observing.tracing import Tracing
from schemas.tokens import TokenRequest

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
    """FastAPI, with the input, its envelope and the problem document among the schemas, and each request accounted for."""

    def __init__(self, metrics: Metrics, tracing: Tracing, **fastapi: Any) -> None:
        super().__init__(**fastapi)
        self.state.metrics = metrics
        self.state.tracing = tracing

    def build_middleware_stack(self) -> ASGIApp:
        """Every guard and handler, within the account: what the outermost of them answers is accounted for, too."""
        return Accounting(super().build_middleware_stack(), self.state.metrics, self.state.tracing)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document["components"].setdefault("schemas", {})
            for name, schema in _contract().items():
                schemas.setdefault(name, schema)
            for operation in _guarded(document):
                _say_scope(operation)
            self.openapi_schema = document
        return self.openapi_schema


def _guarded(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from (operation for operation in methods.values() if "security" in operation)


def _say_scope(operation: dict[str, Any]) -> None:
    """Which scope the operation needs, for people and, as OpenAPI 3.1 has it, as a role of the bearer; and the refusals that each may meet."""
    scope = needed(operation["operationId"])
    operation["security"] = [{"HTTPBearer": [scope]}]
    operation["description"] = f"{operation['description']}\n\nNeeds the scope `{scope}`."
    refused = operation["responses"]["401"]
    operation["responses"] |= {status: refused for status in ("403", "429", "500", "503")}


def _contract() -> dict[str, Schema]:
    asked = TokenRequest.model_json_schema(by_alias=True)
    found: dict[str, Schema] = {"Envelope": _ENVELOPE, "TokenRequest": asked}
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
