"""The skill's own schemas are the floor: every property there exists here with the same name, type and meaning."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.generate import documents
from schemas.request import TrainingRequest

FOLDER = Path(__file__).parents[2] / "schemas" / "json"


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The node with its ``$ref`` followed."""
    while "$ref" in node:
        target: Any = schema
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def properties(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every property of a seed schema, at any depth, with its path."""
    for name, child in node.get("properties", {}).items():
        yield (*path, name), child
        yield from properties(child, (*path, name))
        yield from properties(child.get("items", {}), (*path, name, "[]"))


def look_up(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    node = resolve(schema, schema)
    for part in path:
        node = resolve(schema, node["items"] if part == "[]" else node["properties"][part])
    return node


CASES = [
    pytest.param(document, path, node, id=f"{document}:{'.'.join(path)}")
    for document in ("input", "output")
    for path, node in properties(load(f"seed.{document}.schema.json"))
]


def test_the_seed_has_the_properties_we_think_it_has():
    assert len(CASES) == 31


@pytest.mark.parametrize(("document", "path", "node"), CASES)
def test_property_of_the_seed_exists_with_its_type(document: str, path: tuple[str, ...], node: dict[str, Any]):
    ours = look_up(documents()[f"{document}.schema.json"], path)
    assert ours["type"] == node["type"]
    assert ours.get("enum", []) == node.get("enum", [])
    assert node.get("description", "") in ours.get("description", "")


@pytest.mark.parametrize("document", ["input", "output"])
def test_what_the_seed_requires_is_required(document: str):
    required = load(f"seed.{document}.schema.json")["required"]
    assert set(required) <= set(documents()[f"{document}.schema.json"]["required"])


def test_the_usage_example_is_accepted_verbatim():
    context = load("seed.example.json")["skill"]["context"]
    Draft202012Validator(load("input.schema.json")).validate(context)
    request = TrainingRequest.model_validate(context)
    assert request.training_config.optimizer == "AdamW"
    assert request.data_config.num_workers == 4
    assert request.training_config.mixed_precision is True
