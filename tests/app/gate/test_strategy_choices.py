"""What does not go with a way to train on several devices is refused, with a fix that the gate takes."""

from pathlib import Path
from typing import Any

import pytest

from app.gate.gate import Gate
from app.settings import Settings
from tests.app.workspace import changed, make_workspace


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"))
    return Gate(Settings(home=workspace.parent / "home", workspace=workspace))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("compile", "on"),
        ("precision", "fp16"),
        ("optimizer", "Muon"),
        ("optimizer", "adafactor"),
    ],
)
def test_what_fsdp_cannot_do_is_refused_with_a_fix(gate: Gate, key: str, value: Any):
    document = changed("trainingConfig", {"strategy": "fsdp", "devices": 2, key: value})
    found = gate.examine(document, "schema")
    assert [(error.pointer, error.code) for error in found.errors] == [(f"/trainingConfig/{key}", "conflict")]
    assert found.suggested_input is not None
    assert gate.examine(found.suggested_input, "schema").errors == []
    # It is FSDP that refuses.
    assert gate.examine(changed("trainingConfig", {"devices": 2, key: value}), "schema").errors == []


@pytest.mark.parametrize(("key", "value"), [("compile", "on"), ("gradientCheckpointing", True)])
def test_what_dp_cannot_do_is_refused_with_a_fix(gate: Gate, key: str, value: Any):
    given = {"strategy": "dp", "devices": 2, key: value}
    found = gate.examine(changed("trainingConfig", given), "schema")
    places = {error.pointer for error in found.errors}
    # This service has no GPU.
    assert places == {"/trainingConfig/strategy", f"/trainingConfig/{key}"}
    assert found.suggested_input is not None
    assert gate.examine(found.suggested_input, "schema").errors == []


def test_dp_wants_gpus(gate: Gate, tmp_path: Path):
    with_gpus = Gate(Settings(home=tmp_path, workspace=tmp_path, devices=["cuda:0", "cuda:1"]))
    document = changed("trainingConfig", {"strategy": "dp", "devices": 2})
    assert with_gpus.examine(document, "schema").errors == []
    (error,) = gate.examine(document, "schema").errors
    assert (error.pointer, error.suggestion) == ("/trainingConfig/strategy", "auto")


@pytest.mark.parametrize("word", ["FSDP2", "fully_shard", "FullyShardedDataParallel"])
def test_other_words_for_it_lead_to_it(gate: Gate, word: str):
    found = gate.examine(changed("trainingConfig", {"strategy": word, "devices": 2}), "schema")
    assert [error.suggestion for error in found.errors] == ["fsdp"]
