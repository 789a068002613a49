"""What the gate says of pretrained weights and of parameter groups."""

from pathlib import Path

import pytest

from app.gate.gate import Gate
from app.gate.patches import apply
from app.settings import Settings
from tests.app.workspace import changed, make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    made = make_workspace(tmp_path / "workspace")
    (made / "weights").mkdir()
    (made / "weights" / "resnet18.safetensors").write_bytes(b"")
    return made


@pytest.fixture
def gate(workspace: Path) -> Gate:
    return Gate(Settings(home=workspace.parent / "home", workspace=workspace))


@pytest.mark.parametrize("form", ["text", "object"])
def test_the_path_of_weights_is_resolved_wherever_it_stands(gate, workspace, form):
    path = "weights/resnet18.safetensors"
    given = path if form == "text" else {"path": path, "stripPrefix": "module."}
    document = changed("modelConfig", "weights", given)
    admitted = gate.admit(document)
    pretrained = admitted.request.model_settings.pretrained
    assert pretrained.path == str(workspace / path)
    assert pretrained.strip_prefix == ("" if form == "text" else "module.")
    assert admitted.input["modelConfig"]["weights"] == given, "what was sent stays as it was"


@pytest.mark.parametrize("form", ["text", "object"])
def test_weights_that_are_not_there_are_refused_with_the_near_name(gate, form):
    path = "weights/resnet8.safetensors"
    document = changed("modelConfig", "weights", path if form == "text" else {"path": path})
    (error,) = gate.examine(document, "paths").errors
    assert error.code == "not_found"
    assert error.pointer == "/modelConfig/weights" + ("" if form == "text" else "/path")
    assert error.suggestion == "weights/resnet18.safetensors"
    assert not gate.examine(apply(document, error.fix), "paths").errors


def test_weights_come_from_the_workspace_or_from_a_job(gate, workspace):
    outside = workspace.parent / "elsewhere.safetensors"
    outside.write_bytes(b"")
    (error,) = gate.examine(changed("modelConfig", "weights", str(outside)), "paths").errors
    assert error.code == "outside_workspace"
    job = workspace.parent / "home" / "jobs" / "job_1" / "run"
    job.mkdir(parents=True)
    assert not gate.examine(changed("modelConfig", "weights", str(job)), "paths").errors


GROUPS = [
    ({"match": "a", "learningRate": 0.1, "learningRateFactor": 0.1}, "/0/learningRateFactor", "conflict"),
    ({"match": "a", "learningRateFactor": 0}, "/0/learningRateFactor", "out_of_range"),
    ({"learningRateFactor": 0.1}, "/0/match", "required"),
]


@pytest.mark.parametrize(("group", "place", "code"), GROUPS)
def test_a_group_that_contradicts_itself_or_the_schema(gate, group, place, code):
    document = changed("trainingConfig", "parameterGroups", [group])
    (error,) = gate.examine(document, "paths").errors
    assert (error.pointer, error.code) == (f"/trainingConfig/parameterGroups{place}", code)
    if error.fix:
        assert not gate.examine(apply(document, error.fix), "paths").errors


def test_a_weight_decay_that_the_optimizer_does_not_have(gate):
    document = changed(
        "trainingConfig", "parameterGroups", [{"match": "a", "weightDecay": 0.1, "learningRateFactor": 2}]
    )
    document["trainingConfig"]["optimizer"] = "Rprop"
    (error,) = gate.examine(document, "paths").errors
    assert error.code == "conflict"
    assert not gate.examine(apply(document, error.fix), "paths").errors


@pytest.mark.parametrize(
    ("patterns", "index", "left"),
    [(["*"], 0, None), (["**"], 0, None), (["?*"], 0, None), (["backbone.*", "*"], 1, ["backbone.*"])],
)
def test_a_pattern_that_fits_any_parameter_is_refused(gate, patterns, index, left):
    document = changed("modelConfig", "freeze", patterns)
    found = gate.examine(document, "paths")
    (error,) = found.errors
    assert (error.pointer, error.code) == (f"/modelConfig/freeze/{index}", "conflict")
    assert found.suggested_input["modelConfig"].get("freeze") == left
    assert not gate.examine(found.suggested_input, "paths").errors


@pytest.mark.parametrize("patterns", [["*.*"], ["??*"], ["?"], ["*weight", "*bias"], ["[!h]*"], []])
def test_what_may_leave_something_to_train_is_for_the_worker_to_judge(gate, patterns):
    assert not gate.examine(changed("modelConfig", "freeze", patterns), "paths").errors


def test_scikit_learn_has_no_use_for_any_of_it(gate):
    document = changed("modelPath", "models/forest.py")
    document["modelConfig"] = {"weights": "weights/resnet18.safetensors", "freeze": ["*"]}
    document["trainingConfig"] |= {
        "parameterGroups": [{"match": "a", "learningRateFactor": 2}],
        "gradientCheckpointing": True,
        "compile": "on",
        "deterministic": True,
    }
    found = gate.examine(document, "paths")
    assert found.errors == []
    warnings = found.warnings
    assert {warning.pointer for warning in warnings} == {
        "/modelConfig/weights",
        "/modelConfig/freeze",
        "/trainingConfig/parameterGroups",
        "/trainingConfig/gradientCheckpointing",
        "/trainingConfig/compile",
        "/trainingConfig/deterministic",
    }
