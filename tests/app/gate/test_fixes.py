"""Fixes: each one, applied alone, leaves fewer errors than there were, whatever else is wrong with the request."""

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import app.gate
from app.gate.gate import Gate
from app.gate.patches import apply
from app.settings import Settings
from schemas.losses import LOSSES
from schemas.optimizers import OPTIMIZERS
from schemas.schedules import SCHEDULES
from tests.app.workspace import REQUEST, changed, make_workspace
from tests.wrong_values import values_around

T = "trainingConfig"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"))
    (workspace / "models/large.py").write_text("import torch\n" + "#" * 1_100_000)
    (workspace / "models/own_loss.py").write_text("import torch\n\ndef loss(output, targets): ...\n")
    return Gate(Settings(home=workspace.parent / "home", workspace=workspace))


def errors_after_each_fix(gate: Gate, document: Any) -> set[str]:
    """The codes of what is wrong with ``document``; fails where a fix does not leave fewer errors."""
    found = gate.examine(document, "paths").errors
    for error in found:
        if error.fix is not None:
            left = gate.examine(apply(document, error.fix), "paths").errors
            assert len(left) < len(found), (document, error, left)
    return {error.code for error in found}


# Changes of a request that is right: path and value.
WRONG: list[tuple[Any, ...]] = [
    (T, "learningrate", 0.1),
    (T, "learning_rate", "1e-3"),
    (T, "colour", "red"),
    (T, "betas", [0.9, 0.99]),
    (T, "betas", "abc"),
    (T, "eps", "1e-6"),
    (T, "patience", 3),
    (T, "num_warmup_steps", "many"),
    ("lr", "abc"),
    ("data", {"train_path": "data/train"}),
    (T, []),
    ("dataConfig", {}),
    (T, "epochs", "32"),
    (T, "epochs", "many"),
    (T, "epochs", 0),
    (T, "epochs", 10**30),
    (T, "learningRate", -0.1),
    (T, "labelSmoothing", 2),
    (T, "labelSmoothing", 10),
    (T, "precision", 16),
    (T, "optimizer", {"name": "sgd"}),
    (T, {"optimizer": "adamw2", "optimizerArgs": {"momentum": 0.9, "eps": "1e-8"}}),
    (T, {"optimizer": "LBFGS", "optimizerArgs": {"max_iter": 5}}),
    (T, {"optimizer": "Rprop", "weightDecay": 0.1}),
    (T, {"optimizer": "Rprop", "optimizerArgs": {"weight_decay": 0.1, "etas": [2, 3]}}),
    (T, {"optimizer": "SGD", "optimizerArgs": {"nesterov": True}}),
    (T, {"optimizer": "SGD", "optimizerArgs": {"nesterov": True, "momentum": "abc", "dampening": 0.5}}),
    (T, "optimizerArgs", {"lr": 0.1, "fused": True, "beta": "x", "eps": "abc"}),
    (T, "optimizerArgs", {"lr": "abc"}),
    (T, "optimizerArgs", {"betas": [2, 3], "amsgrad": "yes"}),
    (T, "optimizerArgs", []),
    (T, "scheduler", "cosin"),
    (T, "scheduler", "no such schedule"),
    (T, "scheduler", "StepLR"),
    (T, {"scheduler": "stepp", "schedulerArgs": {"gama": 0.1}}),
    (T, {"scheduler": "multistep", "schedulerArgs": {"milestones": None, "gamma": "0,1"}}),
    (T, {"scheduler": "OneCycleLR", "warmupSteps": 10, "warmupRatio": 0.1}),
    (T, {"scheduler": "OneCycleLR", "schedulerArgs": {"num_warmup_steps": 10, "pct_start": 30}}),
    (T, {"warmupSteps": 10, "warmupRatio": 0.1}),
    (T, {"warmupSteps": 10, "schedulerArgs": {"warmup_ratio": 0.1, "T_max": 50}}),
    (T, {"scheduler": "linear", "schedulerArgs": {"end_factor": 5}}),
    (T, {"scheduler": "plateau", "schedulerArgs": {"factor": 2, "mode": "minimum"}}),
    (T, "loss", "crossentrpy"),
    (T, {"loss": "hinge", "labelSmoothing": 0.1, "lossArgs": {"margin": 1}}),
    (T, {"loss": "cross_entropi", "task": "regression", "lossArgs": {"delta": "1"}}),
    (T, {"loss": "mse", "task": "classification", "labelSmoothing": 0.1}),
    (T, {"loss": "huber", "lossArgs": {"gamma": 2, "label_smoothing": 0.1}}),
    (T, {"lossArgs": {"weight": "abc", "weights": [1, "2"]}}),
    (T, {"mixedPrecision": True, "precision": "fp32"}),
    (T, {"devices": 2, "strategy": "single"}),
    (T, {"devices": 1000, "strategy": "single"}),
    (T, {"devices": 1025}),
    (T, "earlyStopping", {"monitor": "val_loss"}),
    ("dataConfig", "valSplit", 20),
    ("dataConfig", "features", []),
    ("dataConfig", {"trainPath": "data/table.csv", "target": "y", "features": ["x", "y", "x"]}),
    ("dataConfig", "preprocessing", {"imageSize": [3, 28, 32]}),
    ("dataConfig", "preprocessing", {"imageSize": ["28", 32]}),
    ("dataConfig", "trainPath", "data/trian"),
    ("dataConfig", "trainPath", "../secret"),
    ("dataConfig", "trainPath", "data/table.unknown"),
    ("checkpointConfig", "saveDir", ""),
    ("checkpointConfig", "resumeFrom", "latest"),
    ("checkpointConfig", {"saveDir": "", "resumeFrom": "latest"}),
    ("checkpointConfig", {"saveDir": "/etc/runs", "resumeFrom": "latest"}),
    ("checkpointConfig", {"saveDir": "data/table.csv/x", "resumeFrom": "latest"}),
    ("checkpointConfig", "resumeFrom", "runs/none"),
    ("limits", {"maxSeconds": 0}),
    ("labels", {"run": 3, "k" * 70: "v", "long": "v" * 300}),
    ("labels", {f"k{number}": "v" for number in range(70)}),
    ("modelConfig", {"className": "models.resnet.Net"}),
    ("engine", "pytorch"),
    ("modelPath", "model/resnet.py"),
    ("modelPath", "/elsewhere/models/resnet.py"),
    ("modelPath", ""),
    ("modelPath", "models/broken.py"),
    ("modelPath", "models/large.py"),
    ("modelPath", "models/nothing.py"),
    ("kind", "agent"),
    ("notify", [{"url": "https://127.0.0.1/told"}]),
    ("trackingConfig", "mlflow", {"uri": "x"}),
]


def envelope(document: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "skil", "skill": {"name": "pytorch-trainr", "context": document}}


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_every_fix_of_a_wrong_request_leaves_fewer_errors(gate: Gate, change: tuple[Any, ...]) -> None:
    document = changed(*change)
    assert errors_after_each_fix(gate, document)
    errors_after_each_fix(gate, envelope(document))


@pytest.mark.parametrize(
    ("training", "pointers"),
    [
        (
            {"lossArgs": {"delta": 1}, "labelSmoothing": 0.1},
            ["/trainingConfig/labelSmoothing", "/trainingConfig/lossArgs"],
        ),
        ({"lossArgs": {"delta": None}, "labelSmoothing": 0}, []),
        ({"loss": "huber", "lossArgs": {"delta": 1}}, []),
    ],
)
def test_the_model_files_own_loss_takes_no_settings(gate: Gate, training: dict[str, Any], pointers: list[str]) -> None:
    document = changed(T, training, base={**REQUEST, "modelPath": "models/own_loss.py"})
    assert sorted(error.pointer for error in gate.examine(document, "paths").errors) == pointers
    errors_after_each_fix(gate, document)


ARGUMENTS = [
    pytest.param(key, arguments, entry, id=entry.name)
    for key, arguments, entries in (
        ("optimizer", "optimizerArgs", OPTIMIZERS),
        ("scheduler", "schedulerArgs", SCHEDULES),
        ("loss", "lossArgs", LOSSES),
    )
    for entry in entries
]


@pytest.mark.parametrize(("key", "arguments", "entry"), ARGUMENTS)
def test_every_fix_of_a_wrong_argument_leaves_fewer_errors(gate: Gate, key: str, arguments: str, entry: Any) -> None:
    required = {item.name: item.proposed(9) for item in entry.arguments if item.proposed}
    for argument in entry.arguments:
        for value in values_around(argument.kind):
            given_ = {**required, argument.name: value}
            errors_after_each_fix(gate, changed(T, {key: entry.name, arguments: given_}))


# What stands behind a model file that cannot be read, its engine and the format of its data, shows when it can.
COMBINED = [change for change in WRONG if change[0] != "modelPath"]


@settings(max_examples=120)
@given(st.lists(st.sampled_from(COMBINED), min_size=2, max_size=4))
def test_a_fix_does_not_depend_on_what_else_is_wrong(gate: Gate, changes: list[tuple[Any, ...]]) -> None:
    document: Any = REQUEST
    for *path, value in changes:
        place = document
        for part in path[:-1]:
            place = place.get(part, {})
            if not isinstance(place, dict):
                return
        document = changed(*path, value, base=document)
    errors_after_each_fix(gate, document)


def codes_in_the_source() -> set[str]:
    """The codes that the gate can give: second arguments of ``wrong``, and the tables and exceptions that hold others."""
    found = set()
    for path in Path(app.gate.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1:
                code = {"wrong": node.args[1], "SourceError": node.args[0]}.get(node.func.id)
                branches = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
                found |= {item.value for item in branches if isinstance(item, ast.Constant)}
    from app.gate.schema_errors import _CODES

    return {str(code) for code in found} | set(_CODES.values())


def test_the_wrong_requests_bring_up_every_code(gate: Gate) -> None:
    documents = [changed(*change) for change in WRONG]
    documents += [envelope(REQUEST), [], {"kind": "skill"}]
    said = {error.code for document in documents for error in gate.examine(document, "paths").errors}
    # A warning, and what only another user's file, Python's parser or a machine without bubblewrap brings about.
    assert codes_in_the_source() - said == {"no_effect", "not_available", "not_readable"}
