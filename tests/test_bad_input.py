"""What a worker says of bad input: a code of its own for each kind, its place, the next move, in a payload that validates."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_breast_cancer, load_digits

from app.supervision.payload import check, fold
from schemas.assignment import Assignment, Outcome
from schemas.result import TrainingError
from tests.app.rows import ROW
from trainer_core.channel import Channel
from trainer_core.checkpoints.checkpoint_folder import newest
from trainer_core.stop import Stop
from trainer_core.worker import run

TABLE_MODEL = "from torch import nn\ndef build_model():\n    return nn.LazyLinear(2)\n"
IMAGE_MODEL = "from torch import nn\ndef build_model():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(2))\n"


@dataclass
class Workspace:
    """A folder with a request to come: ``cancer.csv`` and a folder ``digits`` of images, two classes of each."""

    folder: Path

    def table(self, name: str, change: Callable[[Any], Any] = lambda frame: frame) -> str:
        """The path of a table made of scikit-learn's breast cancer."""
        change(load_breast_cancer(as_frame=True).frame.head(120)).to_csv(self.folder / name, index=False)
        return str(self.folder / name)

    def images(self, classes: int = 2) -> Path:
        """A folder per class, with twelve of scikit-learn's digits in each."""
        digits = load_digits()
        for number in range(classes):
            folder = self.folder / "digits" / str(number)
            folder.mkdir(parents=True)
            for index in np.flatnonzero(digits.target == number)[:12]:
                Image.fromarray((digits.images[index] * 15).astype(np.uint8)).save(folder / f"{index}.png")
        return self.folder / "digits"

    def outcome(self, data: str | Path, model: str = TABLE_MODEL, **sections: dict[str, Any]) -> Outcome:
        """How a worker ends that trains ``model`` on ``data``."""
        path, job = self.folder / "net.py", self.folder / "job"
        path.write_text(model)
        job.mkdir(exist_ok=True)
        request: dict[str, Any] = {
            "modelPath": str(path),
            "dataConfig": {"trainPath": str(data)},
            "trainingConfig": {"epochs": 1},
            "resources": {"threads": 1},
        }
        for section, values in sections.items():
            request[section] = {**request.get(section, {}), **values}
        assignment = Assignment.model_validate(
            {
                "jobId": "job_1",
                "attempt": 1,
                "request": request,
                "engine": "native",
                "workspace": str(self.folder),
                "modelSnapshot": str(path),
                "modelSha256": "0" * 64,
                "jobFolder": str(job),
                "attemptFolder": str(job),
                "runFolder": str(job / "run"),
                "devices": ["cpu"],
            }
        )
        return run(assignment, Channel(), Stop())


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """What its model files put on the path and among the modules is taken off again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield Workspace(tmp_path)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def broken_model(workspace: Workspace) -> Outcome:
    return workspace.outcome(workspace.table("cancer.csv"), "import torch\nx = torch.no_such_name\n")


def missing_folder(workspace: Workspace) -> Outcome:
    workspace.images()
    return workspace.outcome(workspace.folder / "digts", IMAGE_MODEL)


def one_class(workspace: Workspace) -> Outcome:
    return workspace.outcome(workspace.images(classes=1), IMAGE_MODEL)


def unreadable_image(workspace: Workspace) -> Outcome:
    image = sorted((workspace.images() / "1").iterdir())[3]
    image.write_bytes(image.read_bytes()[:40])
    return workspace.outcome(workspace.folder / "digits", IMAGE_MODEL)


def missing_column(workspace: Workspace) -> Outcome:
    return workspace.outcome(workspace.table("cancer.csv"), dataConfig={"target": "targt"})


def nan_in_a_table(workspace: Workspace) -> Outcome:
    def spoil(frame: Any) -> Any:
        frame = frame.astype({"target": "float64"})
        frame.loc[6, "target"] = np.nan
        return frame

    return workspace.outcome(workspace.table("cancer.csv", spoil))


def empty_data(workspace: Workspace) -> Outcome:
    return workspace.outcome(workspace.table("cancer.csv", lambda frame: frame.head(0)))


def checkpoint_of_another_model(workspace: Workspace) -> Outcome:
    table = workspace.table("cancer.csv")
    assert workspace.outcome(table).state == "succeeded"
    another = TABLE_MODEL.replace("nn.LazyLinear(2)", "nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))")
    return workspace.outcome(table, another, checkpointConfig={"resumeFrom": str(newest(workspace.folder / "job/run"))})


def damaged_checkpoint(workspace: Workspace) -> Outcome:
    table = workspace.table("cancer.csv")
    assert workspace.outcome(table).state == "succeeded"
    last = newest(workspace.folder / "job/run")
    weights = load_file(last / "model.safetensors")
    save_file({name: array + 1 for name, array in weights.items()}, last / "model.safetensors")
    return workspace.outcome(table, checkpointConfig={"resumeFrom": str(last)})


# What is bad -> its code, and what of its place must be told.
CASES: dict[Callable[[Workspace], Outcome], tuple[str, set[str]]] = {
    broken_model: ("model_import_failed", {"path", "line"}),
    missing_folder: ("data_not_found", {"path", "pointer"}),
    one_class: ("data_single_class", {"path"}),
    unreadable_image: ("data_unreadable", {"path"}),
    missing_column: ("data_column_missing", {"path", "column", "pointer"}),
    nan_in_a_table: ("data_not_finite", {"path", "column", "row"}),
    empty_data: ("data_empty", {"path"}),
    checkpoint_of_another_model: ("checkpoint_incompatible", {"path", "pointer"}),
    damaged_checkpoint: ("checkpoint_corrupt", {"path"}),
}


def test_each_kind_has_a_code_of_its_own():
    codes = [code for code, _ in CASES.values()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("bad", CASES, ids=lambda case: case.__name__)
def test_bad_input_is_told_with_code_place_and_next_move(workspace: Workspace, bad: Callable[[Workspace], Outcome]):
    code, place = CASES[bad]
    outcome = bad(workspace)
    assert isinstance(outcome.error, TrainingError)
    assert (outcome.state, outcome.error.code) == ("failed", code)
    assert outcome.error.place is not None
    assert place <= outcome.error.place.to_json().keys()
    assert outcome.error.next_move
    assert not outcome.error.retryable
    document = json.loads(json.dumps(fold([], outcome, ROW).to_json(), allow_nan=False))
    assert check(document) == []
    assert (document["status"], document["error"]["code"]) == ("error", code)


def test_what_can_be_mended_is_mended(workspace: Workspace):
    assert missing_column(workspace).error.fix[0].value == "target"


def test_the_file_and_row_are_the_bad_ones(workspace: Workspace):
    assert nan_in_a_table(workspace).error.place.row == 7
    place = unreadable_image(workspace).error.place
    assert Path(place.path).parent.name == "1"
    with pytest.raises(OSError, match=r"truncated|cannot identify"):
        Image.open(place.path).load()


def test_what_the_data_decide_is_filled_in(workspace: Workspace):
    table = workspace.table("cancer.csv")
    model = "from torch import nn\ndef build_model(in_features, num_classes):\n    return nn.Linear(in_features, num_classes)\n"
    refused = workspace.outcome(table, model)
    assert refused.error.code == "model_invalid"
    (patch,) = refused.error.fix
    assert patch.to_json() == {
        "op": "add",
        "path": "/modelConfig",
        "value": {"args": {"in_features": 30, "num_classes": 2}},
    }
    assert workspace.outcome(table, model, modelConfig=patch.value).state == "succeeded"
