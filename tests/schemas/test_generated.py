"""The JSON Schemas in the repository are the ones the models generate."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from schemas.generate import documents, files


@pytest.mark.parametrize("path", sorted(files()), ids=lambda path: path.name)
def test_checked_in_file_is_current(path: Path):
    assert path.read_text() == files()[path], "run: make schemas"


@pytest.mark.parametrize("name", sorted(documents()))
def test_schema_is_itself_valid(name: str):
    Draft202012Validator.check_schema(documents()[name])


def test_requests_are_closed_at_every_depth():
    schema = documents()["input.schema.json"]
    objects = [schema, *schema["$defs"].values()]
    assert [node.get("additionalProperties") for node in objects] == [False] * len(objects)


def test_null_is_nowhere_in_what_clients_see():
    assert '"null"' not in json.dumps(documents())


def test_every_input_property_says_what_it_is():
    schema = documents()["input.schema.json"]
    silent = [
        f"{title}.{name}"
        for title, node in {"request": schema, **schema["$defs"]}.items()
        for name, child in node["properties"].items()
        if "description" not in child and "$ref" not in child
    ]
    assert silent == []
