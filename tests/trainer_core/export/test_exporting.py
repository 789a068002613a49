"""What is left of a run for use elsewhere: the files of the best weights, made in a process whose end costs the run nothing."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from schemas.assignment import STOP_FILE, StopOrder
from schemas.events import (
    Alert,
    CheckpointSaved,
    EpochStarted,
    EventData,
    ExportCompleted,
    ExportProgress,
)
from schemas.exporting import EXPORTS
from schemas.isolation import Bounds
from schemas.result import Export
from tests.trainer_core.conftest import Bench, Run
from trainer_core.channel import Channel
from trainer_core.checkpoints.manifest import verify
from trainer_core.engines.native import train
from trainer_core.stop import Stop

# Its evaluation is not its training, and neither is what its export does.
MODEL = """
import os
import signal

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3))

    def forward(self, x):
        if {}:
            {}
        return self.layers(x)
"""
# Of 20 MiB.
LARGE_MODEL = """
import torch
from torch import nn


class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.register_buffer("table", torch.zeros(5_000_000))

    def forward(self, x):
        return self.layer(x) + self.table[:3]
"""
ALL = {"formats": list(EXPORTS)}


class Watcher(Channel):
    """Asks for a stop when something is said, for a reason."""

    def __init__(self, stop: Stop, kind: type[EventData], reason: str, attempt_folder: Path, **wanted: object) -> None:
        super().__init__()
        self._stop, self._kind, self._reason, self._folder, self._wanted = stop, kind, reason, attempt_folder, wanted

    def emit(self, data: EventData) -> None:
        """Keep the event, and stop when it is the one."""
        super().emit(data)
        if isinstance(data, self._kind) and self._wanted.items() <= vars(data).items() and not self._stop.requested:
            order = StopOrder(reason=self._reason)
            (self._folder / STOP_FILE).write_text(order.model_dump_json())
            self._stop.requested = True


TRACED = "torch.compiler.is_exporting()"
# While it is compared with what was written.
CHECKED = "os.path.exists('runs/run/export/model.pt2.tmp')"


def write(bench: Bench, when: str = TRACED, does: str = "pass") -> None:
    bench.write_model(MODEL.format(when, does))


def of(run: Run) -> dict[str, Export]:
    return {export.format: export for export in run.of(ExportCompleted)}


def test_the_weights_of_the_result_are_exported(bench: Bench):
    """Those of the best epoch, which is not the last, and of the average; here of a run that had ended before."""
    write(bench)
    changes = {
        "trainingConfig": {"weightAveraging": {"method": "ema"}},
        "checkpointConfig": {"monitor": "trainLoss", "mode": "max", "keepLast": 9},
    }
    trained = bench.train("first", **changes)
    best = [saved for saved in trained.of(CheckpointSaved) if saved.is_best][-1]
    assert best.path != trained.of(CheckpointSaved)[-1].path
    weights = trained.weights(Path(best.path).name)
    changes["checkpointConfig"]["resumeFrom"] = str(trained.run_folder)
    run = bench.train(**changes, exportConfig=ALL)
    assert run.ending is not None
    assert (run.ending.state, run.of(EpochStarted)) == ("succeeded", [])
    exports, artifacts = of(run), {artifact.path: artifact for artifact in run.ending.artifacts}
    assert list(exports) == ALL["formats"]
    for export in exports.values():
        content = Path(export.path).read_bytes()
        assert (export.status, export.bytes, export.sha256) == (
            "exported",
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
        assert artifacts[export.path].sha256 == export.sha256
    folder = run.run_folder / "export"
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "model.pt2", "model.safetensors"]

    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "class": "Net", "jobId": "first", "epoch": "1", "step": "5"}
        assert all(np.array_equal(file.get_tensor(name), weights[name]) for name in weights)
    program = torch.export.load(folder / "model.pt2")
    assert set(program.state_dict) == set(weights)
    data = np.load(bench.folder / "val.npz")["x"]
    assert exports["torch_export"].dynamic_batch
    assert exports["onnx"].dynamic_batch
    wanted = forward(weights, data)
    assert torch.allclose(program.module()(torch.from_numpy(data)), wanted, atol=1e-4)
    # A model is handed on, and its data are not.
    assert data[0].tobytes() not in (folder / "model.pt2").read_bytes()
    run_example(bench.folder, exports)
    stages = [(said.format, said.stage) for said in run.of(ExportProgress)]
    assert list(dict.fromkeys(stages))[-4:] == [
        ("onnx", stage) for stage in ("preparing", "exporting", "writing", "checking")
    ]


def run_example(folder: Path, exports: dict[str, Export]) -> None:
    """What docs/result.md shows, on the payload's own entries."""
    page = (Path(__file__).parents[3] / "docs/result.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    payload = {"exports": [export.to_json() for export in exports.values()]}
    (folder / "payload.json").write_text(json.dumps(payload))
    names: dict[str, Any] = {}
    exec(example.replace('"payload.json"', repr(str(folder / "payload.json"))), names)
    assert names["scores"].shape == (5, 3)
    assert names["weights"].keys() == names["program"].state_dict().keys()


def forward(weights: dict[str, np.ndarray], data: np.ndarray) -> torch.Tensor:
    """The model of this file by hand, in evaluation mode."""
    w = {name.removeprefix("layers."): torch.from_numpy(value) for name, value in weights.items()}
    x = torch.from_numpy(data) @ w["0.weight"].T + w["0.bias"]
    x = (x - w["1.running_mean"]) / torch.sqrt(w["1.running_var"] + 1e-5) * w["1.weight"] + w["1.bias"]
    return torch.tanh(x) @ w["4.weight"].T + w["4.bias"]


def test_a_process_that_is_killed_costs_its_format_alone(bench: Bench):
    """Of a run that was stopped to be kept. Nothing of a file that was begun is left, and what it had exported before is gone."""
    write(bench, CHECKED, "os.kill(os.getpid(), signal.SIGKILL)")
    stop, folder = Stop(), bench.folder / "jobs" / "run"
    channel = Watcher(stop, EpochStarted, "stopped", folder, epoch=2)
    stale = bench.folder / "runs" / "run" / "export" / "model.pt2"
    stale.parent.mkdir(parents=True)
    stale.write_text("of the attempt before")
    run = bench.train(
        channel=channel, stop=stop, exportConfig={"formats": ["torch_export", "safetensors", "torch_export"]}
    )
    assert run.ending is not None
    assert run.ending.state == "stopped"
    lost, made = run.of(ExportCompleted)
    assert (lost.format, lost.status, lost.error.code) == ("torch_export", "failed", "export_failed")
    assert "ended by SIGKILL" in lost.error.message
    assert (made.format, made.status) == ("safetensors", "exported")
    assert [path.name for path in (run.run_folder / "export").iterdir()] == ["model.safetensors"]
    assert [artifact.name for artifact in run.ending.artifacts][-1] == "export/model.safetensors"
    (warning,) = [alert for alert in run.of(Alert) if alert.code == "export_failed"]
    assert warning.remedy == lost.error.next_move
    verify(Path(run.ending.artifacts[-1].path).parents[1] / Path(run.of(CheckpointSaved)[-1].path).name)


@pytest.mark.parametrize(
    ("code", "limits"), [("cancelled", {}), ("hung", {"maxSilentSeconds": 1})], ids=["cancelled", "hung"]
)
def test_an_export_that_does_not_end_is_ended(bench: Bench, code: str, limits: dict):
    """By a cancel, which is too late for the training, or because it says nothing for too long, which is less than loading
    torch takes: the process of the other format is not held to that before its first word."""
    write(bench, TRACED, "signal.pause()")
    stop, folder = Stop(), bench.folder / "jobs" / "run"
    cancels = Watcher(stop, ExportProgress, "cancelled", folder, stage="exporting")
    channel = cancels if code == "cancelled" else Channel()
    run = bench.train(
        channel=channel, stop=stop, limits=limits, exportConfig={"formats": ["torch_export", "safetensors"]}
    )
    assert run.ending is not None
    assert run.ending.state == "succeeded"
    exports = of(run)
    if code == "cancelled":
        assert {export.error.code for export in exports.values()} == {"cancelled"}
    assert exports["torch_export"].error.code == code
    left = [path.name for path in (run.run_folder / "export").iterdir()]
    assert left == ([] if code == "cancelled" else ["model.safetensors"])


def test_what_is_not_kept_is_not_exported(bench: Bench):
    stop, folder = Stop(), bench.folder / "jobs" / "run"
    channel = Watcher(stop, EpochStarted, "cancelled", folder, epoch=2)
    run = bench.train(channel=channel, stop=stop, exportConfig=ALL)
    assert run.ending is not None
    assert (run.ending.state, run.of(ExportCompleted)) == ("stopped", [])


def test_an_export_takes_no_memory_that_the_job_may_not_have(bench: Bench):
    """Who watches over the job would end it."""
    bench.write_model(LARGE_MODEL)
    assignment = bench.assignment(
        trainingConfig={"epochs": 1, "maxSteps": 1}, exportConfig={"formats": ["torch_export"]}
    )
    channel = Channel()
    ending = train(assignment.model_copy(update={"bounds": Bounds(memory_bytes=1 << 20)}), channel, Stop())
    assert ending.state == "succeeded"
    (export,) = [data for data in channel.said if isinstance(data, ExportCompleted)]
    assert (export.status, export.error.code) == ("failed", "out_of_memory")
    assert list((Path(assignment.run_folder) / "export").iterdir()) == []
