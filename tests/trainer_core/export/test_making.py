"""What a model may be like, and what it is exported as; why there is no file."""

import errno
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from schemas.exporting import EXPORT_FOLDER, ExportFormat
from schemas.isolation import Bounds
from schemas.result import Export
from tests.trainer_core.conftest import Bench
from trainer_core.export.agreement import require_agreement
from trainer_core.export.making import make
from trainer_core.export.messages import Work
from trainer_core.export.program import exported, has_dynamic_batch
from trainer_core.export.subject import Subject
from trainer_core.export.torch_export_file import save
from trainer_core.failure import Failure
from trainer_core.loop.trees import call

FIXED = "return self.layer(x) + torch.zeros(len(x), 1)"
BRANCHES = "return self.layer(x) if x.sum() > 0 else -self.layer(x)"
COUNTS = "self.calls += 1\n        return self.layer(x) * self.calls"
MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(6, 3), 0

    def forward(self, x):
        {}
"""


def made(bench: Bench, forward: str, format: ExportFormat, bounds: Bounds | None = None) -> Export:
    """The model of a run, exported in this process."""
    bench.write_model(MODEL.format(forward))
    run = bench.train(trainingConfig={"epochs": 1})
    assignment = bench.assignment().model_copy(update={"bounds": bounds or Bounds()})
    assert run.ending is not None
    checkpoint = Path(run.ending.artifacts[-1].path).parent
    work = Work(assignment=assignment, checkpoint=str(checkpoint), formats=[format], threads=1)
    (run.run_folder / EXPORT_FOLDER).mkdir()
    samples = torch.from_numpy(np.load(bench.folder / "val.npz")["x"][:8])
    return make(format, Subject(work, pickle.dumps(samples)), work, lambda _: None)


def test_a_model_that_fixes_the_number_of_samples_is_exported_for_that_number(bench: Bench):
    export = made(bench, FIXED, "torch_export")
    assert (export.status, export.dynamic_batch) == ("exported", False)


def test_a_model_that_writes_into_its_inputs_is_exported(bench: Bench):
    assert made(bench, "x.mul_(2)\n        return self.layer(x)", "torch_export").status == "exported"


@pytest.mark.parametrize(
    ("format", "forward", "message"),
    [
        ("torch_export", BRANCHES, "line 12 of model.py"),
        ("torch_export", COUNTS, "does not compute what the model does: its output is off by up to"),
        ("onnx", COUNTS, "does not compute what the model does: its output is off by up to"),
    ],
    ids=["branches", "counts", "counts in onnx"],
)
@pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")
def test_a_model_that_cannot_be_exported_is_told_why(bench: Bench, format: ExportFormat, forward: str, message: str):
    export = made(bench, forward, format)
    assert export.status == "failed"
    assert export.path is None
    assert export.error.code == "export_failed"
    assert message in export.error.message
    assert "nothing is trained again" in export.error.next_move


def test_a_file_for_which_the_job_has_no_room_is_not_begun(bench: Bench):
    export = made(bench, COUNTS, "safetensors", Bounds(disk_bytes=1 << 20))
    assert export.error.code == "quota_exceeded"
    assert "about 1 MiB of disk, and resources.diskMiB leaves 0" in export.error.message


class Several(nn.Module):
    """Takes its inputs by name, or by place."""

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mean": (ids * mask).sum(1) / mask.sum(1), "ids": ids}


@pytest.mark.parametrize("by_name", [True, False])
def test_inputs_come_as_training_gives_them(by_name: bool):
    ids, mask = torch.arange(12.0).reshape(4, 3), torch.ones(4, 3)
    program = exported(Several(), {"mask": mask, "ids": ids} if by_name else (ids, mask))
    assert has_dynamic_batch(program)
    some = {"ids": ids[:3], "mask": mask[:3]} if by_name else (ids[:3], mask[:3])
    assert require_agreement(call(Several(), some), call(program.module(), some)) == 0.0


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process():
    program = exported(nn.Linear(6, 4096), torch.ones(2, 6))
    with pytest.raises(OSError, match="No space left") as caught:
        save(program, Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC


def test_outputs_agree_within_the_tolerance():
    one = torch.tensor([1.0, 100.0, float("nan")])
    assert require_agreement(one, one + 1e-5) == pytest.approx(1e-5, rel=0.5)
    with pytest.raises(Failure, match=r"off by up to 0\.0003"):
        require_agreement(one, one + 3e-4)
    with pytest.raises(Failure, match="inf"):
        require_agreement(one, torch.ones(3))
    with pytest.raises(Failure, match="shapes"):
        require_agreement(one, one[:2])
