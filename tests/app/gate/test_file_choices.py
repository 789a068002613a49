"""What the text of the model file, and what the data's paths are, deny of a request: refused before the run."""

from pathlib import Path
from typing import Any

import pytest

from app.gate.gate import Examined, Gate
from app.gate.patches import look
from app.settings import Settings
from tests.app.workspace import REQUEST, changed, make_workspace

TABLE = changed("dataConfig", {"trainPath": "data/table.csv"})
NET = """import torch

class Head(torch.nn.Module):
    def __init__(self, num_classes=2):
        super().__init__()

class Net(torch.nn.Module):
    def __init__(self, hidden=8, *, dropout=0.0):
        super().__init__()
"""
BUILDER = NET + "\ndef build_model(width=3): return Net(width)\n"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"))
    (workspace / "data/arrays.npz").write_bytes(b"")
    return workspace


@pytest.fixture(scope="module")
def gate(workspace: Path) -> Gate:
    return Gate(Settings(home=workspace.parent / "home", workspace=workspace))


def examine(gate: Gate, workspace: Path, source: str, **config: Any) -> Examined:
    (workspace / "models/own.py").write_text(source)
    return gate.examine(changed("modelPath", "models/own.py", base=changed("modelConfig", config)), "paths")


@pytest.mark.parametrize(("name", "instead"), [("Nett", "Net"), ("net", "Net"), ("Resnext", None)])
def test_a_class_that_the_file_lacks_is_refused(gate: Gate, workspace: Path, name: str, instead: str | None) -> None:
    found = examine(gate, workspace, NET, className=name)
    (error,) = found.errors
    assert (error.pointer, error.got, error.allowed) == ("/modelConfig/className", name, ["Head", "Net"])
    assert look(found.suggested_input, ("modelConfig", "className")) == instead


@pytest.mark.parametrize(
    "source",
    [
        NET + "\nfrom zoo import Resnext\n",
        NET + "\nfrom zoo import *\n",
        NET + "\nResnext = Net\n",
        NET + "\nglobals().update(Resnext=Net)\n",
        NET + "\ntry:\n    from zoo import Resnext\nexcept ImportError:\n    pass\n",
        BUILDER,
    ],
)
def test_a_class_that_the_file_may_have_passes(gate: Gate, workspace: Path, source: str) -> None:
    assert examine(gate, workspace, source, className="Resnext").errors == []


def test_an_argument_that_the_model_does_not_take_is_renamed_or_taken_out(gate: Gate, workspace: Path) -> None:
    found = examine(gate, workspace, NET, className="Net", args={"hiden": 4, "layers": 2})
    assert [(error.pointer, error.code, error.suggestion) for error in found.errors] == [
        ("/modelConfig/args/hiden", "unknown_argument", "hidden"),
        ("/modelConfig/args/layers", "unknown_argument", None),
    ]
    assert found.errors[0].allowed == ["hidden", "dropout"]
    assert look(found.suggested_input, ("modelConfig", "args")) == {"hidden": 4}
    (error,) = examine(gate, workspace, BUILDER, args={"hidden": 4}).errors
    assert error.message == 'build_model of the model file has no argument "hidden"; it takes width.'


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ndef build_model(**kwargs): ...\n",
        "import torch, functools\n@functools.cache\ndef build_model(): ...\n",
        "import torch\ndef build_model(): ...\nif torch.cuda.is_available():\n    def build_model(layers): ...\n",
        "import torch\nclass Net(torch.nn.Linear): ...\n",
        "import torch\nfrom zoo import made\n@made\nclass Net(torch.nn.Module):\n    def __init__(self): ...\n",
        "import torch\nfrom zoo import build_model\n",
        "import torch\nfrom zoo import *\nclass Net(torch.nn.Module):\n    def __init__(self): ...\n",
        NET,
    ],
)
def test_arguments_pass_where_the_text_does_not_say_what_is_taken(gate: Gate, workspace: Path, source: str) -> None:
    assert examine(gate, workspace, source, args={"layers": 2}).errors == []


def test_a_data_set_that_the_file_does_not_build_is_refused(gate: Gate) -> None:
    found = gate.examine(changed("dataConfig", "format", "modelFile", base=TABLE), "paths")
    assert [(error.pointer, error.code) for error in found.errors] == [("/dataConfig/format", "conflict")]
    assert look(found.suggested_input, ("dataConfig", "format")) is None
    built = changed("modelPath", "models/dataset.py", base=TABLE)
    assert gate.examine(changed("dataConfig", "format", "modelFile", base=built), "paths").errors == []


def test_an_assigned_loss_takes_no_settings_either(gate: Gate, workspace: Path) -> None:
    (workspace / "models/own.py").write_text("import torch\nloss = torch.nn.CrossEntropyLoss()\n")
    document = changed("modelPath", "models/own.py", base=changed("trainingConfig", {"labelSmoothing": 0.1}))
    assert [error.pointer for error in gate.examine(document, "paths").errors] == ["/trainingConfig/labelSmoothing"]


# (path and value put into the request, pointer of the error, the path and value of the suggestion; None: it has none)
DATA: list[tuple[dict[str, Any], tuple[Any, ...], str, tuple[Any, ...] | None]] = [
    (REQUEST, ("dataConfig", "format", "csv"), "/dataConfig/format", ("dataConfig", "format", None)),
    (TABLE, ("dataConfig", "format", "imageFolder"), "/dataConfig/format", ("dataConfig", "format", None)),
    (TABLE, ("dataConfig", "valPath", "data/val"), "/dataConfig/valPath", None),
    (TABLE, ("dataConfig", "valPath", "data/arrays.npz"), "/dataConfig/valPath", None),
    (REQUEST, ("dataConfig", "valPath", "data/table.csv"), "/dataConfig/valPath", None),
]


@pytest.mark.parametrize(("base", "change", "pointer", "mended"), DATA)
def test_paths_that_deny_a_format_are_refused(
    gate: Gate, base: dict[str, Any], change: tuple[Any, ...], pointer: str, mended: tuple[Any, ...] | None
) -> None:
    found = gate.examine(changed(*change, base=base), "paths")
    (error,) = found.errors
    assert (error.pointer, error.code, error.got) == (pointer, "conflict", change[-1])
    assert (found.suggested_input is None) == (mended is None)
    if mended is not None:
        assert look(found.suggested_input, mended[:-1]) == mended[-1]


def test_a_loss_that_does_not_fit_class_folders_is_refused(gate: Gate) -> None:
    found = gate.examine(changed("trainingConfig", {"loss": "mse"}), "paths")
    assert [error.pointer for error in found.errors] == ["/trainingConfig/loss"]
    assert look(found.suggested_input, ("trainingConfig", "loss")) == "cross_entropy"


def test_several_targets_are_refused_without_a_fix_that_would_teach_one_by_another(gate: Gate) -> None:
    for depth in ("schema", "paths"):
        found = gate.examine(changed("dataConfig", "target", ["y1", "y2"], base=TABLE), depth)
        (error,) = found.errors
        assert (error.pointer, error.code, error.fix) == ("/dataConfig/target", "wrong_type", None)
        assert "shape (rows, 2) in an .npz file" in error.message
        assert found.suggested_input is None
    one = gate.examine(changed("dataConfig", "target", ["y1"], base=TABLE), "paths")
    assert one.suggested_input["dataConfig"]["target"] == "y1"
