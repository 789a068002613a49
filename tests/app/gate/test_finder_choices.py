"""A finder's settings that leave it nothing to find, and other libraries' words for it, with fixes that the gate takes."""

from typing import Any

import pytest

from app.gate.gate import Gate
from app.settings import Settings
from tests.app.workspace import changed, make_workspace

FINDER = "/trainingConfig/learningRateFinder"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"))
    return Gate(Settings(home=workspace.parent / "home", workspace=workspace))


@pytest.mark.parametrize(
    ("training", "pointer", "mended"),
    [
        pytest.param(
            {"learningRateFinder": {"minLearningRate": 0.1, "maxLearningRate": 0.01}},
            f"{FINDER}/minLearningRate",
            {"learningRateFinder": {"minLearningRate": 0.01, "maxLearningRate": 0.1}},
            id="bounds the wrong way round",
        ),
        pytest.param(
            {"learningRateFinder": {"minLearningRate": 2}},
            f"{FINDER}/minLearningRate",
            {"learningRateFinder": {}},
            id="above the usual end",
        ),
        pytest.param(
            {"learningRateFinder": {"maxLearningRate": 0.01, "minLearningRate": 0.01}},
            f"{FINDER}/minLearningRate",
            {"learningRateFinder": {}},
            id="nothing between",
        ),
        pytest.param(
            {"learningRateFinder": True, "scheduler": "OneCycleLR", "schedulerArgs": {"max_lr": 0.1}},
            "/trainingConfig/schedulerArgs/max_lr",
            {"learningRateFinder": True, "scheduler": "OneCycleLR", "schedulerArgs": {}},
            id="a highest rate of the schedule's own",
        ),
    ],
)
def test_what_leaves_nothing_to_find(gate: Gate, training: dict[str, Any], pointer: str, mended: dict[str, Any]):
    found = gate.examine(changed("trainingConfig", training), "schema")
    assert [(error.pointer, error.code) for error in found.errors] == [(pointer, "conflict")]
    assert found.suggested_input == changed("trainingConfig", mended)
    assert gate.examine(found.suggested_input, "schema").errors == []


def test_a_suggestion_may_stand_beside_the_highest_rate(gate: Gate):
    training = {
        "learningRateFinder": {"action": "suggest"},
        "scheduler": "OneCycleLR",
        "schedulerArgs": {"max_lr": 0.1},
    }
    assert gate.examine(changed("trainingConfig", training), "schema").errors == []


@pytest.mark.parametrize("strategy", ["fsdp", "dp"])
def test_sizes_are_tried_on_each_device_by_itself(gate: Gate, strategy: str):
    document = changed("trainingConfig", {"batchSizeFinder": True, "strategy": strategy, "devices": 2})
    found = gate.examine(document, "schema")
    assert "/trainingConfig/batchSizeFinder" in {error.pointer for error in found.errors}
    assert found.suggested_input is not None
    assert "batchSizeFinder" not in found.suggested_input["trainingConfig"]
    off = changed("trainingConfig", {"batchSizeFinder": False, "strategy": "fsdp", "devices": 2})
    assert gate.examine(off, "schema").errors == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("dataConfig", "batchSize", "auto"), ("trainingConfig", "auto_scale_batch_size", True)],
)
def test_other_words_for_a_size(gate: Gate, section: str, key: str, value: Any):
    found = gate.examine(changed(section, key, value), "schema")
    assert found.suggested_input is not None
    assert found.suggested_input["trainingConfig"]["batchSizeFinder"] is True
    assert gate.examine(found.suggested_input, "schema").errors == []


@pytest.mark.parametrize(
    "training",
    [
        {"learningRate": "auto"},
        {"auto_lr_find": True},
        {"lrFinder": True},
        {"lr_find": {"steps": 50}},
    ],
)
def test_other_words_lead_to_it(gate: Gate, training: dict[str, Any]):
    found = gate.examine(changed("trainingConfig", training), "schema")
    assert found.errors
    assert found.suggested_input is not None
    assert found.suggested_input["trainingConfig"]["learningRateFinder"]
    assert "learningRate" not in found.suggested_input["trainingConfig"]
    assert gate.examine(found.suggested_input, "schema").errors == []
