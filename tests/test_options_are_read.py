"""An option that nothing reads is a lie to whoever sets it: every property of a request is read somewhere."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from schemas.request import TrainingRequest

ROOT = Path(__file__).parents[1]
SOURCES = "\n".join(path.read_text() for folder in ("app", "trainer_core") for path in (ROOT / folder).rglob("*.py"))


def options(model: type[BaseModel], path: str = "") -> list[tuple[str, str]]:
    """(JSON path, Python name) of every option, at any depth."""
    found = []
    for name, info in model.model_fields.items():
        here = f"{path}.{info.alias}".removeprefix(".")
        found.append((here, name))
        kinds = [info.annotation, *getattr(info.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += options(kind, here)
    return found


# Labels are kept and shown with the job (app stores them from the request's JSON); nothing else reads them.
@pytest.mark.parametrize(("path", "name"), options(TrainingRequest), ids=lambda value: value)
def test_option_is_read(path: str, name: str):
    assert re.search(rf"\.{name}\b", SOURCES), f"{path} is accepted, but nothing reads it"
