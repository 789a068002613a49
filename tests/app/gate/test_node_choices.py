"""What a run on several machines wants said."""

from typing import Any

import pytest

from app.gate.gate import Gate
from app.settings import Settings
from tests.app.workspace import changed, make_workspace

MEETING = {"endpoint": "node-1.lan:29500", "nodeRank": 1}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"))
    return Gate(Settings(home=workspace.parent / "home", workspace=workspace))


@pytest.mark.parametrize(
    ("training", "place", "code"),
    [
        ({"numNodes": 2}, "rendezvous", "required"),
        ({"numNodes": 2, "rendezvous": {**MEETING, "nodeRank": 2}}, "rendezvous/nodeRank", "conflict"),
        ({"numNodes": 2, "rendezvous": MEETING, "strategy": "single"}, "strategy", "conflict"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_fix(gate: Gate, training: dict[str, Any], place: str, code: str):
    found = gate.examine(changed("trainingConfig", training), "schema")
    assert [(error.pointer, error.code) for error in found.errors] == [(f"/trainingConfig/{place}", code)]
    assert found.suggested_input is not None
    assert gate.examine(found.suggested_input, "schema").errors == []


@pytest.mark.parametrize("endpoint", ["node-1.lan:29500", "10.0.0.1:1", "[fd00::1]:29500", "localhost:65535"])
def test_endpoints(gate: Gate, endpoint: str):
    document = changed("trainingConfig", {"numNodes": 2, "rendezvous": {**MEETING, "endpoint": endpoint}})
    assert gate.examine(document, "paths").errors == []


@pytest.mark.parametrize("endpoint", ["node-1", "node-1:", ":29500", "a b:1", "http://node-1:29500", "n:0"])
def test_what_is_no_endpoint(gate: Gate, endpoint: str):
    document = changed("trainingConfig", {"numNodes": 2, "rendezvous": {**MEETING, "endpoint": endpoint}})
    (error,) = gate.examine(document, "schema").errors
    assert error.pointer == "/trainingConfig/rendezvous/endpoint"


@pytest.mark.parametrize("resume", ["runs/of/the/first/node", "latest"])
def test_the_checkpoint_of_the_first_node_need_not_be_here(gate: Gate, resume: str):
    document = changed("checkpointConfig", "resumeFrom", resume)
    for rank, refused in ((0, True), (1, False)):
        document["trainingConfig"] = {"numNodes": 2, "rendezvous": {**MEETING, "nodeRank": rank}}
        assert bool(gate.examine(document, "paths").errors) is refused


def test_a_meeting_of_one_is_without_effect(gate: Gate):
    found = gate.examine(changed("trainingConfig", {"rendezvous": MEETING}), "schema")
    assert found.errors == []
    assert [warning.pointer for warning in found.warnings] == ["/trainingConfig/rendezvous"]
