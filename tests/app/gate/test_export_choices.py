"""Formats of export: what is away is told before the training, and what is left out on purpose leads to what does its work."""

import re
import tomllib
from pathlib import Path

import pytest

from app.exports import available, missing
from app.gate.export_choices import export_errors
from app.gate.gate import Gate
from app.settings import Settings
from schemas.exporting import EXPORTS
from schemas.problems import PatchOperation, RequestError

FORMATS = "/exportConfig/formats"


def errors(tmp_path: Path, formats: list[str]) -> list[RequestError]:
    request = {"modelPath": "m.py", "dataConfig": {"trainPath": "d"}, "trainingConfig": {}}
    gate = Gate(Settings(home=tmp_path, workspace=tmp_path))
    return gate.examine({**request, "exportConfig": {"formats": formats}}, "schema").errors


def test_every_format_of_this_installation_is_taken(tmp_path: Path):
    assert available() == tuple(EXPORTS)
    assert not any(missing(name) for name in EXPORTS)
    assert errors(tmp_path, list(EXPORTS)) == []


@pytest.mark.parametrize(("name", "near"), [("torchscript", "torch_export"), ("safetensor", "safetensors")])
def test_an_unknown_format_is_mended(tmp_path: Path, name: str, near: str):
    (error,) = errors(tmp_path, [name])
    assert error.fix == [PatchOperation(op="replace", path=f"{FORMATS}/0", value=near)]


def test_a_format_whose_library_is_away_names_it():
    document = {"exportConfig": {"formats": ["onnx", "torch_export", "onnx"]}}
    (error,) = export_errors(document, ("safetensors", "torch_export"))
    assert error.pointer == f"{FORMATS}/0"
    assert error.code == "not_available"
    assert "pip install 'pytorch-trainer[onnx]'" in error.message
    assert error.fix == [PatchOperation(op="replace", path=FORMATS, value=["torch_export"])]


def test_what_a_format_needs_comes_with_the_extra_of_its_name():
    """So says the message."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for name, entry in EXPORTS.items():
        assert {re.split(r"\W", wanted)[0] for wanted in extras.get(name, [])} == set(entry.needs)


@pytest.mark.parametrize("formats", [["onnx2", 5], "onnx", None])
def test_what_the_schema_refuses_is_not_judged_here(formats: object):
    assert list(export_errors({"exportConfig": {"formats": formats}}, ("safetensors",))) == []
