"""An option that nothing reads is a lie to whoever sets it: every property of a request is read, as a property of that
section and not of something else that has one of the same name."""

import ast
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel, create_model

from schemas.request import TrainingRequest
from schemas.training import TrainingConfig
from tests.attribute_reads import AttributeReads

ROOT = Path(__file__).parents[1]

# Read from JSON, where there is no typed request yet, or none any more: JSON path -> file that asks for it by name.
READ_FROM_JSON = {"engine": "app/gate/paths.py"}


def options(model: type[BaseModel], path: str = "") -> list[tuple[str, str, str]]:
    """(JSON path, class, Python name) of every option, at any depth."""
    found = []
    for name, info in model.model_fields.items():
        here = f"{path}.{info.alias}".removeprefix(".")
        found.append((here, model.__name__, name))
        kinds = [info.annotation, *getattr(info.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += options(kind, here)
    return found


@cache
def reads() -> frozenset[tuple[str, str]]:
    """(class, attribute) of all that the service and the worker read."""
    files = {folder: sorted((ROOT / folder).rglob("*.py")) for folder in ("schemas", "app", "trainer_core")}
    everything = (path for paths in files.values() for path in paths)
    return frozenset(AttributeReads.of(everything, iter([*files["app"], *files["trainer_core"]])).found)


def read_from_json(name: str, path: Path) -> bool:
    """Whether ``path`` calls ``….get("name")``."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    gets = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "get" and call.args]
    return any(isinstance(call.args[0], ast.Constant) and call.args[0].value == name for call in gets)


@pytest.mark.parametrize(("path", "section", "name"), options(TrainingRequest), ids=lambda value: value)
def test_option_is_read(path: str, section: str, name: str):
    file = READ_FROM_JSON.get(path)
    from_json = file is not None and read_from_json(path.rpartition(".")[2], ROOT / file)
    assert from_json or (section, name) in reads(), f"{path} is accepted, but nothing reads {section}.{name}"


def test_an_option_of_a_usual_name_that_nobody_reads_is_found():
    """``path`` and ``name`` are read everywhere, of something else."""
    careless = create_model("TrainingConfig", __base__=TrainingConfig, path=(str, "x"), name=(str, "y"))
    unread = {name for _, section, name in options(careless) if (section, name) not in reads()}
    assert {"path", "name"} <= unread
