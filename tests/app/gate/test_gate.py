"""The gate: what is admitted, what is refused with all its reasons, and fixes that fix."""

import copy
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gate.gate import Examined, Gate
from app.gate.patches import apply, look
from app.http.manifest import EXAMPLE
from app.problems import Refusal
from app.settings import Settings
from schemas.problems import PatchOperation, RequestError
from tests.app.workspace import REQUEST, changed, make_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def gate(workspace: Path) -> Gate:
    return Gate(Settings(home=workspace.parent / "home", workspace=workspace))


def test_an_input_that_is_written_as_text_is_read(gate: Gate):
    envelope = {"kind": "skill", "skill": {"name": "pytorch-trainer", "context": json.dumps(REQUEST)}}
    found = gate.examine(envelope, "paths")
    assert [(error.pointer, error.code) for error in found.errors] == [("/skill/context", "required")]
    assert look(found.suggested_input, ("skill", "context")) == REQUEST
    for text in ("", "not JSON", "[1]", "\ud800"):
        envelope["skill"]["context"] = text
        assert gate.examine(envelope, "paths").suggested_input is None


def the_error(found: Examined, pointer: str) -> RequestError:
    """The one error at ``pointer``."""
    errors = [error for error in found.errors if error.pointer == pointer]
    assert len(errors) == 1, [(error.pointer, error.code) for error in found.errors]
    return errors[0]


TRAINING = "trainingConfig"

# (path and value put into the request, pointer of the error, its code, path and value after its fix)
FIXED: list[tuple[tuple[Any, ...], str, str, tuple[Any, ...]]] = [
    (
        (TRAINING, "learningrate", 0.1),
        "/trainingConfig/learningrate",
        "unknown_property",
        (TRAINING, "learningRate", 0.1),
    ),
    (
        (TRAINING, "learning_rate", "1e-3"),
        "/trainingConfig/learning_rate",
        "unknown_property",
        (TRAINING, "learningRate", 0.001),
    ),
    (("lr", 0.1), "/lr", "unknown_property", (TRAINING, "learningRate", 0.1)),
    ((TRAINING, "batch_size", "64"), "/trainingConfig/batch_size", "unknown_property", ("dataConfig", "batchSize", 64)),
    (("num_epochs", 3), "/num_epochs", "unknown_property", ()),
    (("betas", [0.9, 0.99]), "/betas", "unknown_property", (TRAINING, "optimizerArgs", "betas", [0.9, 0.99])),
    (
        (TRAINING, "patience", 3),
        "/trainingConfig/patience",
        "unknown_property",
        (TRAINING, "earlyStopping", "patience", 3),
    ),
    (
        (TRAINING, "gradient_clip_val", 1),
        "/trainingConfig/gradient_clip_val",
        "unknown_property",
        (TRAINING, "gradientClipping", 1),
    ),
    ((TRAINING, None), "/trainingConfig", "wrong_type", (TRAINING, {})),
    ((TRAINING, "colour", "red"), "/trainingConfig/colour", "unknown_property", (TRAINING, "colour", None)),
    (
        ("checkpoint_config", {"saveEvery": 2}),
        "/checkpoint_config",
        "unknown_property",
        ("checkpointConfig", "saveEvery", 2),
    ),
    (("output_dir", "runs"), "/output_dir", "unknown_property", ("checkpointConfig", "saveDir", "runs")),
    (("a/b~c", 1), "/a~1b~0c", "unknown_property", ("a/b~c", None)),
    ((TRAINING, "epochs", "32"), "/trainingConfig/epochs", "wrong_type", (TRAINING, "epochs", 32)),
    ((TRAINING, "epochs", 2.7), "/trainingConfig/epochs", "wrong_type", (TRAINING, "epochs", 3)),
    ((TRAINING, "epochs", 0), "/trainingConfig/epochs", "out_of_range", (TRAINING, "epochs", 1)),
    ((TRAINING, "epochs", 10**30), "/trainingConfig/epochs", "out_of_range", (TRAINING, "epochs", 1_000_000)),
    (
        (TRAINING, "mixedPrecision", "yes"),
        "/trainingConfig/mixedPrecision",
        "wrong_type",
        (TRAINING, "mixedPrecision", True),
    ),
    ((TRAINING, "precision", "bfloat16"), "/trainingConfig/precision", "not_allowed", (TRAINING, "precision", "bf16")),
    ((TRAINING, "precision", 16), "/trainingConfig/precision", "not_allowed", (TRAINING, "precision", "fp16")),
    ((TRAINING, "learningRate", -0.1), "/trainingConfig/learningRate", "out_of_range", (TRAINING, "learningRate", 0.1)),
    (
        (TRAINING, "optimizer", {"name": "sgd"}),
        "/trainingConfig/optimizer",
        "wrong_type",
        (TRAINING, "optimizer", "sgd"),
    ),
    (
        (TRAINING, "optimizer", {"name": "SGD", "momentum": 0.9}),
        "/trainingConfig/optimizer",
        "wrong_type",
        (TRAINING, "optimizerArgs", {"momentum": 0.9}),
    ),
    (
        (TRAINING, "scheduler", {"type": "StepLR", "params": {"step_size": 10}}),
        "/trainingConfig/scheduler",
        "wrong_type",
        (TRAINING, "schedulerArgs", {"step_size": 10}),
    ),
    (
        (TRAINING, "earlyStopping", True),
        "/trainingConfig/earlyStopping",
        "wrong_type",
        (TRAINING, "earlyStopping", {}),
    ),
    (
        (TRAINING, "earlyStopping", 7),
        "/trainingConfig/earlyStopping",
        "wrong_type",
        (TRAINING, "earlyStopping", "patience", 7),
    ),
    (
        (TRAINING, "earlyStopping", False),
        "/trainingConfig/earlyStopping",
        "wrong_type",
        (TRAINING, "earlyStopping", None),
    ),
    (
        (TRAINING, "weightAveraging", "swa"),
        "/trainingConfig/weightAveraging",
        "wrong_type",
        (TRAINING, "weightAveraging", "method", "swa"),
    ),
    ((TRAINING, "optimizer", "adamw2"), "/trainingConfig/optimizer", "not_allowed", (TRAINING, "optimizer", "AdamW")),
    ((TRAINING, "optimizer", "LBFGS"), "/trainingConfig/optimizer", "not_allowed", (TRAINING, "optimizer", None)),
    (
        (TRAINING, "optimizerArgs", {"lr": 0.1}),
        "/trainingConfig/optimizerArgs/lr",
        "unknown_argument",
        (TRAINING, "learningRate", 0.1),
    ),
    (
        (TRAINING, "optimizerArgs", {"beta": [0.9, 0.9]}),
        "/trainingConfig/optimizerArgs/beta",
        "unknown_argument",
        (TRAINING, "optimizerArgs", "betas", [0.9, 0.9]),
    ),
    (
        (TRAINING, "optimizerArgs", {"fused": True}),
        "/trainingConfig/optimizerArgs/fused",
        "unknown_argument",
        (TRAINING, "optimizerArgs", {}),
    ),
    (
        (TRAINING, "optimizerArgs", {"betas": 0.9}),
        "/trainingConfig/optimizerArgs/betas",
        "wrong_argument",
        (TRAINING, "optimizerArgs", "betas", [0.9, 0.9]),
    ),
    ((TRAINING, "scheduler", "cosin"), "/trainingConfig/scheduler", "not_allowed", (TRAINING, "scheduler", "cosine")),
    (
        (TRAINING, "scheduler", "StepLR"),
        "/trainingConfig/schedulerArgs/step_size",
        "required",
        (TRAINING, "schedulerArgs", "step_size", 3),
    ),
    (
        (TRAINING, "scheduler", "multistep"),
        "/trainingConfig/schedulerArgs/milestones",
        "required",
        (TRAINING, "schedulerArgs", "milestones", [4, 6]),
    ),
    (
        (TRAINING, "schedulerArgs", {"T_max": 50}),
        "/trainingConfig/schedulerArgs/T_max",
        "unknown_argument",
        (TRAINING, "schedulerArgs", {}),
    ),
    ((TRAINING, "loss", "crossentrpy"), "/trainingConfig/loss", "not_allowed", (TRAINING, "loss", "cross_entropy")),
    ((TRAINING, "devices", 1000), "/trainingConfig/devices", "out_of_range", ()),
    (
        (TRAINING, "earlyStopping", {"monitor": "val_loss"}),
        "/trainingConfig/earlyStopping/monitor",
        "bad_format",
        (TRAINING, "earlyStopping", "monitor", "valLoss"),
    ),
    (("dataConfig", "valSplit", 20), "/dataConfig/valSplit", "out_of_range", ("dataConfig", "valSplit", 0.2)),
    (("dataConfig", "features", "x"), "/dataConfig/features", "wrong_type", ("dataConfig", "features", ["x"])),
    (("dataConfig", "features", []), "/dataConfig/features", "too_few", ("dataConfig", "features", None)),
    (
        ("dataConfig", "preprocessing", {"imageSize": 28}),
        "/dataConfig/preprocessing/imageSize",
        "wrong_type",
        ("dataConfig", "preprocessing", "imageSize", [28, 28]),
    ),
    (
        ("dataConfig", "preprocessing", {"imageSize": [3, 28, 32]}),
        "/dataConfig/preprocessing/imageSize",
        "too_many",
        ("dataConfig", "preprocessing", "imageSize", [28, 32]),
    ),
    (
        ("dataConfig", "preprocessing", {"imageSize": ["28", 32]}),
        "/dataConfig/preprocessing/imageSize/0",
        "wrong_type",
        ("dataConfig", "preprocessing", "imageSize", [28, 32]),
    ),
    (("checkpointConfig", "saveDir", ""), "/checkpointConfig/saveDir", "empty", ("checkpointConfig", "saveDir", None)),
    (
        ("checkpointConfig", "saveDir", "/etc/runs"),
        "/checkpointConfig/saveDir",
        "outside_workspace",
        ("checkpointConfig", "saveDir", None),
    ),
    (
        ("checkpointConfig", "saveDir", "data/table.csv/x"),
        "/checkpointConfig/saveDir",
        "not_writable",
        ("checkpointConfig", "saveDir", None),
    ),
    (("trackingConfig", "mlflow", "off"), "/trackingConfig/mlflow", "wrong_type", ("trackingConfig", "mlflow", False)),
    (("trackingConfig", "mlflow", {"uri": "x"}), "/trackingConfig/mlflow/uri", "unknown_property", ()),
    (("limits", {"maxSeconds": 0}), "/limits/maxSeconds", "out_of_range", ("limits", "maxSeconds", None)),
    (("labels", {"run": 3}), "/labels/run", "wrong_type", ("labels", "run", "3")),
    (("labels", {"k" * 70: "v"}), "/labels/" + "k" * 70, "too_long", ("labels", "k" * 64, "v")),
    (("labels", {"k": "v" * 300}), "/labels/k", "too_long", ("labels", "k", "v" * 256)),
    (
        ("modelConfig", {"className": "models.resnet.Net"}),
        "/modelConfig/className",
        "bad_format",
        ("modelConfig", "className", "Net"),
    ),
    (("engine", "pytorch"), "/engine", "not_allowed", ("engine", "native")),
    (("modelPath", "model/resnet.py"), "/modelPath", "not_found", ("modelPath", "models/resnet.py")),
    (("modelPath", "resnet.py"), "/modelPath", "not_found", ("modelPath", "models/resnet.py")),
    (
        ("modelPath", "/elsewhere/models/resnet.py"),
        "/modelPath",
        "outside_workspace",
        ("modelPath", "models/resnet.py"),
    ),
    (
        ("dataConfig", "trainPath", "data/trian"),
        "/dataConfig/trainPath",
        "not_found",
        ("dataConfig", "trainPath", "data/train"),
    ),
    (("dataConfig", "valPath", "data/vall"), "/dataConfig/valPath", "not_found", ("dataConfig", "valPath", "data/val")),
    # What says nothing gives way to the default.
    ((TRAINING, "epochs", "many"), "/trainingConfig/epochs", "wrong_type", ()),
    ((TRAINING, {"learningrate": "fast"}), "/trainingConfig/learningrate", "unknown_property", ()),
    (("labels", 3), "/labels", "wrong_type", ()),
]

# The same without a fix: only the author knows.
NOT_FIXED: list[tuple[tuple[Any, ...], str, str]] = [
    (("checkpointConfig", "resumeFrom", 5), "/checkpointConfig/resumeFrom", "wrong_type"),
    (("checkpointConfig", "resume_from", 5), "/checkpointConfig/resume_from", "unknown_property"),
    (("modelConfig", "weights", [1, 2]), "/modelConfig/weights", "wrong_type"),
    (("modelPath", 7), "/modelPath", "wrong_type"),
    (("modelPath", ""), "/modelPath", "empty"),
    (("modelPath", "models/broken.py"), "/modelPath", "model_import_failed"),
    (("modelPath", "models"), "/modelPath", "not_found"),
    (("modelPath", "models/nothing.py"), "/engine", "engine_unknown"),
    (("modelPath", "models/\0.py"), "/modelPath", "outside_workspace"),
    (("modelPath", "x" * 5000), "/modelPath", "not_found"),
    (("dataConfig", "trainPath", "../secret"), "/dataConfig/trainPath", "outside_workspace"),
    (("dataConfig", "trainPath", "data/table.unknown"), "/dataConfig/trainPath", "unknown_format"),
    (("checkpointConfig", "resumeFrom", "runs/none"), "/checkpointConfig/resumeFrom", "not_found"),
    (("checkpointConfig", "resumeFrom", "data/table.csv"), "/checkpointConfig/resumeFrom", "not_found"),
]


@pytest.mark.parametrize(("change", "pointer", "code", "after"), FIXED, ids=lambda value: str(value)[:50])
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "envelope"])
def test_the_fix_of_an_error_makes_the_place_valid(
    gate: Gate, change: tuple[Any, ...], pointer: str, code: str, after: tuple[Any, ...], wrapped: bool
):
    document = changed(*change)
    base = ""
    if wrapped:
        document, base = {"kind": "skill", "skill": {"name": "pytorch-trainer", "context": document}}, "/skill/context"
    found = gate.examine(document, "paths")
    error = the_error(found, base + pointer)
    assert error.code == code
    assert error.fix
    mended = apply(document, error.fix)
    assert gate.examine(mended, "paths").errors == []
    assert gate.examine(found.suggested_input, "paths").errors == []
    if after:
        *path, value = after
        inner = mended["skill"]["context"] if wrapped else mended
        assert look(inner, path) == value


def test_a_fix_says_no_long_value_again(gate: Gate):
    found = gate.examine({**REQUEST, "tags": {"long": "q" * 200_000}}, "paths")
    said = json.dumps([error.to_json() for error in found.errors])
    assert found.errors
    assert len(said) < 20_000


def test_an_input_that_is_too_large_for_an_answer_is_not_suggested(gate: Gate):
    arguments = {"args": {"text": "q" * 100_000}}
    found = gate.examine({**changed(TRAINING, "epochs", "many"), "modelConfig": arguments}, "paths")
    assert the_error(found, "/trainingConfig/epochs").fix
    assert found.suggested_input is None


def test_the_default_that_a_fix_leads_to_is_said(gate: Gate):
    error = the_error(gate.examine(changed(TRAINING, "epochs", "many"), "paths"), "/trainingConfig/epochs")
    assert error.message.endswith("Left out, it is 10.")
    assert error.fix == [PatchOperation(op="remove", path="/trainingConfig/epochs")]


@pytest.mark.parametrize(("change", "pointer", "code"), NOT_FIXED, ids=lambda value: str(value)[:50])
def test_what_only_the_author_knows_has_no_fix(gate: Gate, change: tuple[Any, ...], pointer: str, code: str):
    found = gate.examine(changed(*change), "paths")
    error = the_error(found, pointer)
    assert error.fix is None
    assert found.suggested_input is None
    assert error.message


@pytest.mark.parametrize("document", [EXAMPLE, EXAMPLE["skill"]["context"]], ids=["envelope", "bare"])
def test_the_usage_example_of_the_skill_is_admitted_as_it_stands(gate: Gate, workspace: Path, document: dict[str, Any]):
    admitted = gate.admit(document)
    assert admitted.input == EXAMPLE["skill"]["context"]
    assert admitted.engine == "native"
    assert admitted.request.model_path == str(workspace / "models/resnet.py")
    assert admitted.request.data_config.batch_size == 32
    assert admitted.request.training_config.gradient_clipping == 1.0
    assert admitted.source.content == (workspace / "models/resnet.py").read_bytes()


ENVELOPES: dict[str, dict[str, Any]] = {
    "context": {"kind": "skill", "title": "t", "skill": {"name": "pytorch-trainer", "context": REQUEST}},
    "prompt": {"kind": "skill", "skill": {"name": "pytorch-trainer", "prompt": {"context": REQUEST, "role": "r"}}},
    "further keys": {
        "kind": "skill",
        "skill": {"name": "pytorch-trainer", "context": REQUEST, "instructions": ["a"], "outputSchema": {}},
        "io": {},
    },
    "stray context": {**REQUEST, "context": {"taskId": 7}},
    "nulls": {**REQUEST, "engine": None, "limits": {"maxSeconds": None}, "trackingConfig": {"mlflow": None}},
}


@pytest.mark.parametrize("document", ENVELOPES.values(), ids=ENVELOPES)
def test_an_input_is_found_in_whatever_an_orchestrator_wraps_around_it(gate: Gate, document: dict[str, Any]):
    found = gate.examine(document, "paths")
    assert found.errors == []
    assert found.request is not None
    assert found.request.training_config.epochs == 9


@pytest.mark.parametrize(
    ("change", "pointer", "code", "allowed"),
    [
        (("kind", "agent"), "/kind", "not_allowed", ["skill"]),
        (("skill", "name", "pytorch-trainr"), "/skill/name", "not_allowed", ["pytorch-trainer"]),
    ],
)
def test_a_task_for_somebody_else_is_told_the_right_name(
    gate: Gate, change: tuple[Any, ...], pointer: str, code: str, allowed: list[str]
):
    found = gate.examine(changed(*change, base=ENVELOPES["context"]), "paths")
    error = the_error(found, pointer)
    assert (error.code, error.allowed) == (code, allowed)
    assert gate.examine(apply(found.suggested_input, []), "paths").errors == []


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ([], ""),
        ("text", ""),
        (None, ""),
        (7, ""),
        ({"kind": "skill"}, "/skill"),
        ({"kind": "skill", "skill": []}, "/skill"),
        ({"kind": "skill", "skill": {"name": "pytorch-trainer"}}, "/skill/context"),
        ({"kind": "skill", "skill": {"name": "pytorch-trainer", "context": []}}, "/skill/context"),
    ],
)
def test_a_document_without_an_input_is_told_where_it_is_expected(gate: Gate, document: Any, pointer: str):
    found = gate.examine(document, "paths")
    assert found.input is None
    assert the_error(found, pointer).code in ("wrong_type", "required")


def test_nulls_stay_in_free_form_objects(gate: Gate):
    found = gate.examine(changed("modelConfig", {"args": {"dropout": None}, "className": None}), "paths")
    assert found.request is not None
    assert found.request.model_settings.args == {"dropout": None}
    assert found.input is not None
    assert found.input["modelConfig"] == {"args": {"dropout": None}}


def test_names_are_taken_in_any_case_and_kept_as_the_tables_spell_them(gate: Gate):
    document = changed(
        "trainingConfig", {"optimizer": "adamw", "scheduler": "Cosine_Annealing", "loss": "CrossEntropyLoss"}
    )
    training = gate.admit(document).request.training_config
    assert (training.optimizer, training.scheduler, training.loss) == ("AdamW", "cosine", "cross_entropy")


CONFLICTS = [
    ({"warmupSteps": 10, "warmupRatio": 0.1}, "/trainingConfig/warmupRatio"),
    ({"mixedPrecision": True, "precision": "fp32"}, "/trainingConfig/mixedPrecision"),
    ({"devices": 2, "strategy": "single"}, "/trainingConfig/strategy"),
    ({"loss": "mse", "task": "classification"}, "/trainingConfig/loss"),
    ({"loss": "mse", "labelSmoothing": 0.1}, "/trainingConfig/labelSmoothing"),
    ({"task": "regression", "labelSmoothing": 0.1}, "/trainingConfig/labelSmoothing"),
    ({"optimizer": "SGD", "optimizerArgs": {"nesterov": True}}, "/trainingConfig/optimizerArgs/momentum"),
    ({"loss": "huber", "lossArgs": {"gamma": 2}}, "/trainingConfig/lossArgs/gamma"),
]


@pytest.mark.parametrize(("training", "pointer"), CONFLICTS, ids=lambda value: str(value))
def test_options_that_exclude_each_other_are_refused_with_a_fix(gate: Gate, training: dict[str, Any], pointer: str):
    document = changed("trainingConfig", training)
    error = the_error(gate.examine(document, "schema"), pointer)
    assert error.fix
    assert gate.examine(apply(document, error.fix), "schema").errors == []


def test_the_target_is_not_a_feature(gate: Gate):
    document = changed("dataConfig", {"trainPath": "data/table.csv", "target": "y", "features": ["x", "y"]})
    error = the_error(gate.examine(document, "paths"), "/dataConfig/features")
    assert error.fix
    assert apply(document, error.fix)["dataConfig"]["features"] == ["x"]


def test_what_has_no_effect_is_a_warning_and_no_error(gate: Gate):
    found = gate.examine(changed("dataConfig", "valSplit", 0.3), "paths")
    assert found.errors == []
    assert [(warning.pointer, warning.code) for warning in found.warnings] == [("/dataConfig/valSplit", "no_effect")]


@pytest.mark.parametrize(
    ("model", "engine"), [("resnet", "native"), ("forest", "sklearn"), ("both", "sklearn"), ("dataset", "native")]
)
def test_the_engine_is_inferred_from_what_the_model_file_uses(gate: Gate, model: str, engine: str):
    assert gate.examine(changed("modelPath", f"models/{model}.py"), "paths").engine == engine


def test_an_engine_that_is_named_needs_no_import(gate: Gate):
    document = {**changed("modelPath", "models/nothing.py"), "engine": "sklearn"}
    assert gate.examine(document, "paths").engine == "sklearn"


def test_a_model_file_that_reads_its_data_itself_may_read_any_format(gate: Gate):
    document = changed(
        "dataConfig", {"trainPath": "data/table.unknown"}, base={**REQUEST, "modelPath": "models/dataset.py"}
    )
    assert gate.examine(document, "paths").errors == []


def test_a_syntax_error_in_the_model_file_names_the_line(gate: Gate):
    assert "line 3" in the_error(gate.examine(changed("modelPath", "models/broken.py"), "paths"), "/modelPath").message


BOMBS = {
    "fields": "import torch\nx = f'" + "{a}" * 300_000 + "'",  # minutes on any machine
    "nesting": "import torch, sklearn\n"
    + "".join(f"{' ' * depth}def f():\n" for depth in range(95))
    + (" " * 95 + "x=" + "a+" * 100 + "a\n") * 3000,
}


@pytest.mark.alone
@pytest.mark.parametrize("program", BOMBS.values(), ids=BOMBS)
def test_a_model_file_that_python_parses_for_minutes_stops_nobody(gate: Gate, workspace: Path, program: str):
    (workspace / "models/bomb.py").write_text(program)
    pauses, ended = [0.0], threading.Event()

    def look_at_the_clock() -> None:
        seen = time.monotonic()
        while not ended.wait(0.01):
            pauses.append(time.monotonic() - seen)
            seen = time.monotonic()

    onlooker = threading.Thread(target=look_at_the_clock)
    onlooker.start()
    begin = time.monotonic()
    found = gate.examine(changed("modelPath", "models/bomb.py"), "paths")
    ended.set()
    onlooker.join()
    # A quick machine may be through with it in the time that is given.
    assert {(error.pointer, error.code) for error in found.errors} <= {("/modelPath", "model_import_failed")}
    assert time.monotonic() - begin < 40
    assert max(pauses) < 2
    assert found.errors or program != BOMBS["fields"]


def test_a_large_model_file_is_read_as_a_small_one_is(gate: Gate, workspace: Path):
    (workspace / "models/long.py").write_text(
        "import torch\nimport sklearn.svm\n" + "# more\n" * 10_000 + "def build_model(): return sklearn.svm.SVC()\n"
    )
    (workspace / "models/wrong.py").write_text("import torch\n" * 10_000 + "def build_model(:\n")
    assert gate.examine(changed("modelPath", "models/long.py"), "paths").engine == "sklearn"
    error = the_error(gate.examine(changed("modelPath", "models/wrong.py"), "paths"), "/modelPath")
    assert "line 10001" in error.message


def test_a_model_file_with_a_mebibyte_of_nesting_is_refused(gate: Gate, workspace: Path):
    (workspace / "models/deep.py").write_text("import torch\nx = 1" + "+1" * 200_000)
    (workspace / "models/large.py").write_text("import torch\n" + "#" * 1_100_000)
    for name, code in (("deep", "model_import_failed"), ("large", "too_large")):
        found = gate.examine(changed("modelPath", f"models/{name}.py"), "paths")
        assert the_error(found, "/modelPath").code == code


@pytest.mark.parametrize("place", ["trainPath", "valPath"])
def test_data_are_a_file_or_a_folder_and_no_pipe(gate: Gate, workspace: Path, place: str):
    if not (workspace / "pipe.csv").exists():
        os.mkfifo(workspace / "pipe.csv")
    [error] = gate.examine(changed("dataConfig", place, "pipe.csv"), "paths").errors
    assert "is not a file or a folder" in error.message


def test_a_symbolic_link_does_not_lead_out_of_the_workspace(gate: Gate, workspace: Path):
    (workspace.parent / "secret.py").write_text("import torch\n")
    (workspace / "models/link.py").symlink_to(workspace.parent / "secret.py")
    (workspace / "data/link").symlink_to(workspace.parent)
    (workspace / "data/loop").symlink_to(workspace / "data/loop")
    assert (
        the_error(gate.examine(changed("modelPath", "models/link.py"), "paths"), "/modelPath").code
        == "outside_workspace"
    )
    assert (
        gate.examine(changed("dataConfig", "trainPath", "data/link/secret.py"), "paths").errors[0].code
        == "outside_workspace"
    )
    assert gate.examine(changed("dataConfig", "trainPath", "data/loop"), "paths").errors[0].code == "not_found"


def test_a_checkpoint_in_the_folder_of_a_job_can_be_resumed_from(gate: Gate, workspace: Path):
    checkpoint = workspace.parent / "home/jobs/job_1/run/best"
    checkpoint.mkdir(parents=True)
    found = gate.examine(changed("checkpointConfig", {"resumeFrom": str(checkpoint)}), "paths")
    assert found.errors == []
    (workspace.parent / "home/token").write_text("secret")
    assert gate.examine(changed("checkpointConfig", {"resumeFrom": str(workspace.parent / "home")}), "paths").errors


def test_the_schema_alone_looks_at_no_file(gate: Gate):
    found = gate.examine(changed("modelPath", "nowhere.py"), "schema")
    assert found.errors == []
    assert found.request is not None


def test_everything_wrong_is_said_at_once_and_the_suggestion_mends_it_all(gate: Gate):
    document = {
        "model_path": "model/resnet.py",
        "lr": "1e-3",
        "data": {"train_path": "data/trian", "batchSize": "32"},
        "trainingConfig": {"epochs": "9", "optimizer": "adamm", "scheduler": "step", "betas": [0.9, 0.99], "eps": 1e-6},
    }
    found = gate.examine(document, "paths")
    pointers = {error.pointer for error in found.errors}
    assert {"/model_path", "/lr", "/data", "/trainingConfig/epochs", "/trainingConfig/betas"} <= pointers
    assert {"/trainingConfig/optimizer", "/trainingConfig/schedulerArgs/step_size"} <= pointers
    one_after_the_other = apply(document, [step for error in found.errors for step in error.fix or []])
    # Nothing is lost on the way; what the fixes bring up is mended in the next round.
    assert gate.examine(one_after_the_other, "paths").suggested_input == found.suggested_input
    request = gate.admit(found.suggested_input).request
    assert (request.training_config.learning_rate, request.training_config.optimizer) == (0.001, "Adam")
    assert request.training_config.optimizer_args == {"betas": [0.9, 0.99], "eps": 1e-6}
    assert request.data_config.batch_size == 32


def test_two_spellings_of_one_property_do_not_overwrite_each_other(gate: Gate):
    found = gate.examine(changed("trainingConfig", {"lr": 0.1, "learningrate": 0.2}), "paths")
    assert len(found.errors) == 2
    assert found.suggested_input["trainingConfig"] in ({"learningRate": 0.1}, {"learningRate": 0.2})


def test_a_body_full_of_errors_gets_an_answer_of_bounded_size(gate: Gate):
    document = {**REQUEST, **{f"unknown{number}": "x" * 500 for number in range(1000)}}
    with pytest.raises(Refusal) as caught:
        gate.admit(document)
    answer = json.dumps(caught.value.problem.to_json())
    assert len(caught.value.problem.errors) == 100
    assert len(answer) < 200_000
    assert all(len(json.dumps(error.got)) <= 210 for error in caught.value.problem.errors)


WRONG_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=8), child, max_size=3),
    max_leaves=5,
)
PLACES = """
    modelPath engine labels limits/maxSeconds dataConfig dataConfig/features dataConfig/trainPath dataConfig/valSplit
    dataConfig/preprocessing/imageSize trainingConfig trainingConfig/epochs trainingConfig/optimizer
    trainingConfig/optimizerArgs trainingConfig/optimizerArgs/betas trainingConfig/scheduler
    trainingConfig/schedulerArgs trainingConfig/loss trainingConfig/lossArgs trainingConfig/labelSmoothing
    trainingConfig/earlyStopping trainingConfig/devices trainingConfig/task trainingConfig/unknown checkpointConfig
    checkpointConfig/monitor checkpointConfig/resumeFrom trackingConfig/mlflow trackingConfig/tags modelConfig/args
    skill kind
"""


@settings(max_examples=150)
@given(st.sampled_from(PLACES.split()), WRONG_VALUES)
def test_no_value_anywhere_breaks_the_gate_and_every_fix_fixes_its_place(gate: Gate, place: str, value: Any):
    document = changed(*place.split("/"), value)
    before = copy.deepcopy(document)
    found = gate.examine(document, "paths")
    assert document == before
    for error in found.errors:
        if error.fix and "/skill" not in error.pointer:
            mended = gate.examine(apply(document, error.fix), "paths")
            assert (error.pointer, error.code) not in {(left.pointer, left.code) for left in mended.errors}
    if found.suggested_input is not None:
        assert gate.examine(found.suggested_input, "paths").errors == []


def test_a_run_goes_on_from_its_best_checkpoint_by_the_file_that_names_it(gate: Gate, workspace: Path):
    run = workspace / "runs/job_9"
    run.mkdir(parents=True)
    for name, admitted in (("best", True), ("latest", True), ("notes.txt", False)):
        (run / name).write_text("epoch-0002\n")
        found = gate.examine(changed("checkpointConfig", {"resumeFrom": f"runs/job_9/{name}"}), "paths")
        assert [error.pointer for error in found.errors] == ([] if admitted else ["/checkpointConfig/resumeFrom"])
