"""What a model may be like, and what it is exported as; why there is no file."""

import errno
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from schemas.exporting import EXPORT_FOLDER, ExportFormat
from schemas.isolation import Bounds
from schemas.result import Export
from tests.trainer_core.conftest import Bench
from trainer_core.data.load import load_data
from trainer_core.export.agreement import require_agreement
from trainer_core.export.making import make
from trainer_core.export.messages import Work
from trainer_core.export.plain import plain
from trainer_core.export.program import arguments_of, call_program, program_of
from trainer_core.export.subject import Subject
from trainer_core.export.torch_export_file import save
from trainer_core.export.trial import Trial, trials
from trainer_core.failure import Failure
from trainer_core.loop.trees import call
from trainer_core.models.file import ModelFile

FIXED = "return self.layer(x) + torch.zeros(len(x), 1)"
BRANCHES = "return self.layer(x) if x.sum() > 0 else -self.layer(x)"
COUNTS = "self.calls += 1\n        return self.layer(x) * self.calls"
PACKS = """lengths = (x != 0).sum(1).clamp(min=1)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        padded, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=6)
        return self.layer(padded)"""
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
    (export,) = made_of_model(bench, format, bounds=bounds)
    return export


def made_of_model(bench: Bench, *formats: ExportFormat, bounds: Bounds | None = None) -> list[Export]:
    """What the model file of the bench is exported to, after one epoch."""
    run = bench.train(trainingConfig={"epochs": 1})
    assignment = bench.assignment().model_copy(update={"bounds": bounds or Bounds()})
    assert run.ending is not None
    checkpoint = Path(run.ending.artifacts[-1].path).parent
    work = Work(assignment=assignment, checkpoint=str(checkpoint), formats=list(formats), threads=1)
    (run.run_folder / EXPORT_FOLDER).mkdir()
    data = load_data(assignment, ModelFile.load(assignment)).validation
    assert data is not None
    batches = trials(data)
    subject = Subject(work, pickle.dumps(batches))
    exports = [make(name, subject, work, lambda _: None) for name in formats]
    for name in formats:
        if work.draft(name).exists():
            work.draft(name).rename(work.place(name))
    return exports


def test_a_model_that_fixes_the_number_of_samples_is_exported_for_that_number(bench: Bench):
    export = made(bench, FIXED, "torch_export")
    assert (export.status, export.dynamic_batch) == ("exported", False)
    assert export.remarks == ["It takes 8 samples at a time, neither more nor fewer."]
    (taken,) = export.inputs
    assert (taken.name, taken.type, taken.shape) == ("x", "float32", [8, 6])


def test_a_program_is_told_apart_that_computes_something_else_for_other_numbers_of_samples(bench: Bench):
    """A program of torch refuses them, and its entry says which; one of ONNX would compute something, and is closed."""
    bench.write_model(MODEL.format("y = self.layer(x)\n        return y if x.shape[0] > 4 else -y"))
    refuses, closed = made_of_model(bench, "torch_export", "onnx")
    assert (refuses.status, refuses.dynamic_batch) == ("exported", True)
    assert refuses.remarks == ["It refuses a batch of 1 ([1, 6]), which the model takes."]
    assert (closed.status, closed.dynamic_batch, closed.inputs[0].shape) == ("exported", False, [8, 6])
    assert "with a batch of 1 ([1, 6]) it does something else than the model" in closed.remarks[-1]


def test_a_model_that_writes_into_its_inputs_is_exported(bench: Bench):
    assert made(bench, "x.mul_(2)\n        return self.layer(x)", "torch_export").status == "exported"


@pytest.mark.parametrize(
    ("format", "forward", "message"),
    [
        ("torch_export", BRANCHES, "line 12 of model.py"),
        ("torch_export", COUNTS, "does not compute what the model does: its output is off by up to"),
        (
            "torch_export",
            PACKS,
            "it packs sequences, and how many steps each has are numbers that torch.export does not know",
        ),
        ("onnx", COUNTS, "does not compute what the model does: its output is off by up to"),
    ],
    ids=["branches", "counts", "packs", "counts in onnx"],
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


# Of each a model that gives the same numbers.
OUTPUTS = {
    "dataclass": "@dataclasses.dataclass\nclass Out:\n    logits: object\n    hidden: object\n    loss: object = None",
    "named tuple": "class Out(typing.NamedTuple):\n    logits: object\n    hidden: object",
    # As transformers has them.
    "model output": """
@dataclasses.dataclass
class Out(collections.OrderedDict):
    loss: object = None
    logits: object = None
    hidden: object = None

    def __post_init__(self):
        for name, value in list(vars(self).items()):
            if value is not None:
                self[name] = value
""",
    "dict": "def Out(logits, hidden):\n    return {'logits': logits, 'hidden': hidden, 'loss': None, 'width': 4}",
}
GIVES = """
import collections
import dataclasses
import typing

import torch
from torch import nn

{}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        hidden = self.first(x)
        return Out(logits=self.second(hidden), hidden=(hidden, x))


def build_model():
    return Net()


def loss(outputs, targets):
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs.logits
    return nn.functional.cross_entropy(logits, targets)
"""


@pytest.mark.parametrize("container", list(OUTPUTS))
def test_what_a_model_returns_needs_no_class_of_its_file(bench: Bench, container: str):
    bench.write_model(GIVES.format(OUTPUTS[container]))
    exports = made_of_model(bench, "torch_export", *(["onnx"] if container == "model output" else []))
    assert all(export.status == "exported" and export.dynamic_batch for export in exports)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    output = torch.export.load(exports[0].path).module()(x)
    if container == "named tuple":
        logits, (hidden, given) = output
    else:
        assert type(output) is dict
        logits, (hidden, given) = output["logits"], output["hidden"]
    assert torch.equal(given, x)
    if container != "model output":
        return
    session = onnxruntime.InferenceSession(exports[1].path)
    names = ["logits", "hidden.0", "hidden.1"]
    assert [entry.name for entry in session.get_outputs()] == names
    for mine, theirs in zip((logits, hidden, given), session.run(names, {"x": x.numpy()}), strict=True):
        assert np.allclose(mine.detach(), theirs, atol=1e-5)


def test_what_holds_tensors_where_nothing_finds_them_is_said(bench: Bench):
    bench.write_model(GIVES.format("class Out:\n    def __init__(self, **parts):\n        vars(self).update(parts)"))
    (export,) = made_of_model(bench, "torch_export")
    assert export.error.message.startswith("The model takes or gives a Out, whose tensors nothing can find")
    assert export.error.next_move.startswith("Make it a dataclass")


# Padded to the longest of a batch, which differs.
PADDED = """
import dataclasses

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence


@dataclasses.dataclass
class Batch:
    ids: torch.Tensor
    mask: torch.Tensor


def build_dataset(path, split):
    draw = torch.Generator().manual_seed(5)
    lengths = [3 + 5 * index % 9 for index in range(24)]
    return [(torch.randint(1, 9, (length,), generator=draw), length % 2) for length in lengths]


def collate(items):
    ids = pad_sequence([ids for ids, _ in items], batch_first=True)
    return Batch(ids, ids > 0), torch.tensor([target for _, target in items])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(9, 4), nn.Linear(8, 2)
        self.read = nn.{}(4, {}, batch_first=True)

    def forward(self, batch):
        ids = batch.ids
        {}
"""
SWEEPS = "states, _ = self.read(self.embed(ids) * batch.mask.unsqueeze(-1))\n        return self.out(states.contiguous().sum(1))"
STEPS = "x = self.embed(ids)\n        return self.out(torch.cat([x[:, i] for i in range(ids.shape[1])], 1)[:, -8:])"


@pytest.mark.parametrize("layer", ["GRU", "LSTM", "RNN"])
def test_a_program_takes_any_length(bench: Bench, layer: str):
    """And a dataclass as a dict of its fields. A plain RNN is no operation of torch's exporter to ONNX: there the length is the
    one of its batch."""
    bench.write_model(PADDED.format(layer, 8, SWEEPS))
    program, *others = made_of_model(bench, "torch_export", *(["onnx"] if layer != "LSTM" else []))
    assert [taken.to_json() for taken in program.inputs] == [
        {"name": "batch_ids", "type": "int64", "shape": ["samples", "length"]},
        {"name": "batch_mask", "type": "bool", "shape": ["samples", "length"]},
    ]
    assert program.remarks == []
    loaded = torch.export.load(program.path).module()
    ids = torch.randint(1, 9, (3, 29), generator=torch.Generator().manual_seed(1))
    wanted = loaded({"ids": ids, "mask": ids > 0}).detach()
    for onnx in others:
        check_length_in_onnx(onnx, layer, ids, wanted)


def check_length_in_onnx(onnx: Export, layer: str, ids: torch.Tensor, wanted: torch.Tensor) -> None:
    if layer == "RNN":
        assert onnx.inputs[0].shape == ["samples", 11]
        assert onnx.remarks[0].startswith("Axis 1 of batch_ids has to have the size 11, and in the data it differs")
        return
    assert [taken.shape for taken in onnx.inputs] == [["samples", "length"]] * 2
    session = onnxruntime.InferenceSession(onnx.path)
    (got,) = session.run(["output"], {"batch_ids": ids.numpy(), "batch_mask": (ids > 0).numpy()})
    assert np.allclose(got, wanted, atol=1e-5)


def test_a_length_that_the_model_fixes_is_said(bench: Bench):
    bench.write_model(PADDED.format("GRU", 8, STEPS))
    (export,) = made_of_model(bench, "torch_export")
    assert (export.status, export.dynamic_batch) == ("exported", True)
    assert export.inputs[0].shape == ["samples", 11]
    assert export.remarks[0] == ("Axis 1 of batch_ids has to have the size 11, and in the data it differs: pad to it.")


class Several(nn.Module):
    """Takes its inputs by name, or by place."""

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mean": (ids * mask).sum(1) / mask.sum(1), "ids": ids}


@pytest.mark.parametrize("by_name", [True, False])
def test_inputs_come_as_training_gives_them(by_name: bool):
    ids, mask = torch.arange(12.0).reshape(4, 3), torch.ones(4, 3)

    def first(samples: int) -> Any:
        return {"mask": mask[:samples], "ids": ids[:samples]} if by_name else (ids[:samples], mask[:samples])

    program = program_of(Several(), [Trial(4, first(4)), Trial(3, first(3))], "all", plain)
    assert program.dynamic_batch
    got = call_program(program.exported.module(), arguments_of(first(2)))
    assert require_agreement(call(Several(), first(2)), got) == 0.0


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process():
    inputs = torch.ones(2, 6)
    program = program_of(nn.Linear(6, 4096), [Trial(2, inputs)], "all", plain).exported
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
