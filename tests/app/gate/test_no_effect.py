"""What is asked for in vain is warned of, and what was left out never is."""

from typing import Any

import pytest

from app.gate.gate import Gate
from app.gate.patches import apply, has, parts
from app.gate.request_schema import homes
from app.planning import plan_of
from app.settings import Settings
from schemas.data import FORMATS
from schemas.effects import find_idle, without
from schemas.engines import ENGINES
from tests.app.workspace import REQUEST, changed, make_workspace

FOREST = {**REQUEST, "modelPath": "models/forest.py"}
OWN_DATA = {**REQUEST, "modelPath": "models/dataset.py"}
TABLE = changed("dataConfig", {"trainPath": "data/table.csv"})
ARRAYS = changed("dataConfig", {"trainPath": "data/arrays.npz"})

# (request, path and value put into it, the settings that are warned of)
IN_VAIN: list[tuple[dict[str, Any], tuple[Any, ...], list[str]]] = [
    (REQUEST, ("dataConfig", "valSplit", 0.2), ["valSplit"]),
    (REQUEST, ("dataConfig", "splitMethod", "random"), ["splitMethod"]),
    (REQUEST, ("dataConfig", "target", "y"), ["target"]),
    (REQUEST, ("dataConfig", "features", ["x"]), ["features"]),
    (TABLE, ("dataConfig", "preprocessing", {"imageSize": [8, 8], "imageMode": "L"}), ["imageSize", "imageMode"]),
    (TABLE, ("dataConfig", "numWorkers", 2), ["numWorkers"]),
    (ARRAYS, ("dataConfig", "preprocessing", {"standardize": False}), ["standardize"]),
    (OWN_DATA, ("dataConfig", "preprocessing", {"standardize": True}), ["standardize"]),
    (OWN_DATA, ("dataConfig", "target", "y"), ["target"]),
    (FOREST, ("trainingConfig", {"optimizer": "SGD", "devices": 1}), ["optimizer", "devices"]),
    (FOREST, ("checkpointConfig", "saveEverySteps", 5), ["saveEverySteps"]),
    (FOREST, ("resources", "threads", 1), ["threads"]),
    (FOREST, ("trainingConfig", {"strategy": "ddp"}), ["strategy"]),
    (REQUEST, ("trainingConfig", {"strategy": "ddp"}), ["strategy"]),
    (REQUEST, ("trainingConfig", {"strategy": "ddp", "devices": 1}), ["strategy"]),
    (REQUEST, ("trainingConfig", {"gradientClipping": 0, "clipBy": "value"}), ["clipBy"]),
    (REQUEST, ("trainingConfig", {"precision": "bf16", "mixedPrecision": True}), ["mixedPrecision"]),
    (REQUEST, ("trackingConfig", "mlflow", True), ["mlflow"]),
    (REQUEST, ("trackingConfig", {"experiment": "trees", "tags": {}}), ["experiment", "tags"]),
    (REQUEST, ("trackingConfig", {"mlflow": False, "runName": "oak"}), ["runName"]),
]

IN_EFFECT: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    (TABLE, ("dataConfig", "valSplit", 0.2)),
    (TABLE, ("dataConfig", "preprocessing", {"standardize": False})),
    # What a resolved request says of data in memory.
    (TABLE, ("dataConfig", "numWorkers", 0)),
    (ARRAYS, ("dataConfig", "target", "y")),
    # Only the worker learns whether build_dataset has validation data.
    (OWN_DATA, ("dataConfig", "valSplit", 0.2)),
    (FOREST, ("trainingConfig", {"epochs": 3, "seed": 1})),
    (REQUEST, ("trainingConfig", {"strategy": "ddp", "devices": 2})),
    (REQUEST, ("trainingConfig", {"gradientClipping": 1, "clipBy": "value"})),
    (REQUEST, ("trackingConfig", {"mlflow": False})),
    (REQUEST, ("trackingConfig", {"mlflow": {"trackingUri": "sqlite:///own.db"}, "experiment": "trees"})),
]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"))
    (workspace / "data/arrays.npz").write_bytes(b"")
    return Gate(Settings(home=workspace.parent / "home", workspace=workspace))


@pytest.mark.parametrize(("base", "change", "names"), IN_VAIN, ids=lambda value: str(value)[:60])
def test_what_is_asked_for_in_vain_is_warned_of_with_its_fix(
    gate: Gate, base: dict[str, Any], change: tuple[Any, ...], names: list[str]
):
    document = changed(*change, base=base)
    found = gate.examine(document, "paths")
    assert found.errors == []
    assert [warning.pointer.rsplit("/", 1)[1] for warning in found.warnings] == names
    plan = plan_of(found, "paths")
    for warning in found.warnings:
        assert warning.code == "no_effect"
        assert warning.message.startswith(".".join(parts(warning.pointer)) + " has no effect: ")
        assert warning.fix
        document = apply(document, warning.fix)
        # That there is no MLflow store the request cannot know: its settings stand in the plan.
        assert "/trackingConfig/" in warning.pointer or not has(plan.resolved, parts(warning.pointer))
    assert gate.examine(document, "paths").warnings == []


@pytest.mark.parametrize(("base", "change"), IN_EFFECT, ids=lambda value: str(value)[:60])
def test_what_has_an_effect_is_not_warned_of(gate: Gate, base: dict[str, Any], change: tuple[Any, ...]):
    found = gate.examine(changed(*change, base=base), "paths")
    assert (found.errors, found.warnings) == ([], [])


@pytest.mark.parametrize("base", [REQUEST, FOREST, OWN_DATA, TABLE, ARRAYS], ids=lambda base: base["modelPath"])
def test_what_was_left_out_is_not_warned_of(gate: Gate, base: dict[str, Any]):
    assert gate.examine(base, "paths").warnings == []
    assert gate.examine(base, "schema").warnings == []


def test_a_plan_names_no_choice_that_the_engine_does_not_make(gate: Gate):
    plan = plan_of(gate.examine(FOREST, "paths"), "paths")
    assert plan.summary == "Ready: 9 epochs with the sklearn engine."
    assert plan.resolved is not None
    assert {"optimizer", "scheduler", "clipBy", "strategy"}.isdisjoint(plan.resolved["trainingConfig"])
    assert plan.resolved["trainingConfig"]["seed"] == 0
    network = plan_of(gate.examine(REQUEST, "paths"), "paths")
    assert network.resolved is not None
    assert network.resolved["trainingConfig"]["optimizer"] == "AdamW"
    assert {"valSplit", "splitMethod"}.isdisjoint(network.resolved["dataConfig"])


def test_without_the_files_only_what_is_named_is_judged(gate: Gate):
    document = {**changed("dataConfig", "target", "y"), "engine": "sklearn", "resources": {"threads": 1}}
    assert [warning.pointer for warning in gate.examine(document, "schema").warnings] == ["/resources/threads"]
    named = changed("dataConfig", "format", "imageFolder", base=document)
    pointers = [warning.pointer for warning in gate.examine(named, "schema").warnings]
    assert pointers == ["/resources/threads", "/dataConfig/target"]


def test_the_newest_checkpoint_of_nowhere_is_refused(gate: Gate):
    document = changed("checkpointConfig", {"resumeFrom": "latest"})
    assert [error.pointer for error in gate.examine(document, "paths").errors] == ["/checkpointConfig/resumeFrom"]
    document = changed("checkpointConfig", {"resumeFrom": "latest", "saveDir": "runs"})
    (error,) = gate.examine(document, "paths").errors
    assert (error.pointer, error.code) == ("/checkpointConfig/resumeFrom", "not_found")
    assert gate.examine(apply(document, error.fix or []), "paths").errors == []


def test_every_setting_that_is_not_looked_at_is_one_of_the_request():
    known = {"/" + "/".join(map(str, path)) for path in homes()}
    unread = [pointer for entry in (*ENGINES.values(), *FORMATS.values()) for pointer in entry.unread]
    assert set(unread) <= known


@pytest.mark.parametrize("value", [None, 1, "x", [], {}])
def test_sections_of_any_type_have_no_settings_to_warn_of(value: Any):
    for section in ("dataConfig", "trainingConfig", "trackingConfig"):
        assert find_idle({section: value}, "sklearn", "csv", tracked=False) == []
        assert without({section: value}, ["/dataConfig/target", "/trainingConfig/loss/a"]) == {section: value}


def test_leaving_out_leaves_the_original_alone():
    whole = {"dataConfig": {"target": "y", "format": "csv"}}
    assert without(whole, ["/dataConfig/target"]) == {"dataConfig": {"format": "csv"}}
    assert whole["dataConfig"]["target"] == "y"


def test_why_an_engine_has_no_use_for_a_setting_is_said():
    (idle,) = find_idle({"exportConfig": {"formats": ["onnx"]}}, "sklearn", None)
    assert "is one file already" in idle.reason
    assert all(entry.needless.keys() <= set(entry.unread) for entry in ENGINES.values())
