"""Data sets that a model file makes itself, of every kind: each trains, or is refused with its place and next move."""

import re
from typing import Any

import numpy as np
import pytest

from schemas.events import Alert, EpochCompleted
from trainer_core.failure import Failure

HEAD = "import os\nimport torch\nfrom torch import nn\n\n\n"
MODEL = (
    "class M(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(6, 3)\n\n"
    "    def forward(self, x):\n        return self.fc(x)\n\n\n"
)


def dataset(body: str, rest: str = "") -> str:
    """A model file whose data set of 40 samples has this ``__getitem__`` (x, y and i at hand)."""
    return (
        HEAD + MODEL + "X = torch.randn(40, 6)\nY = torch.arange(40) % 3\n\n\n"
        f"class D:\n    def __len__(self):\n        return 40\n\n    def __getitem__(self, i):\n        x, y = X[i], Y[i]\n        {body}\n\n\n"
        f"{rest}\n\ndef build_dataset(path, split):\n    return D() if split == 'train' else None\n"
    )


DATASETS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "raises": (dataset("assert i != 17; return x, y"), {}, "data_invalid", "AssertionError while reading samples"),
    "class too high": (dataset("return x, y * 9"), {}, "data_invalid", "A target is class number 9"),
    "class below 0": (dataset("return x, y - 1"), {}, "data_invalid", "A target is class number -1"),
    "known class below 0": (
        dataset("return x, y - 1", "D.targets = Y - 1"),
        {},
        "data_invalid",
        "The data set holds -1 in row 1 (index [0])",
    ),
    "text for a batch": (
        dataset("return x, y", "def collate(items):\n    return 'ab'"),
        {},
        "data_invalid",
        "is a str",
    ),
    "length": (
        dataset("return x, y", "D.__len__ = lambda self: 4.5"),
        {},
        "data_invalid",
        "counting the train samples",
    ),
    "targets": (
        dataset("return x, y", "D.targets = property(lambda self: 1 / 0)"),
        {},
        "data_invalid",
        "ZeroDivisionError",
    ),
    "loader dies": (
        dataset("if i == 17: os._exit(3)\n        return x, y"),
        {"dataConfig": {"numWorkers": 1, "valPath": None}},
        "worker_lost",
        "A loader process died",
    ),
}


@pytest.mark.parametrize(("source", "changes", "code", "message"), DATASETS.values(), ids=DATASETS.keys())
def test_a_data_set_of_the_model_file_is_refused(bench, source, changes, code, message):
    bench.write_model(source)
    with pytest.raises(Failure, match=re.escape(message)) as caught:
        bench.train(**{"dataConfig": {"valPath": None, "numWorkers": 0}, **changes})
    assert caught.value.error.code == code


def test_the_ignored_class_of_a_data_set_needs_no_score(bench):
    bench.write_model(dataset("return x, Z[i]", "Z = Y.clone(); Z[3] = 255; D.targets = Z"))
    run = bench.train(
        dataConfig={"valPath": None, "numWorkers": 0},
        trainingConfig={"epochs": 1, "loss": "cross_entropy", "lossArgs": {"ignore_index": 255}},
    )
    assert run.ending.state == "succeeded"


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_figures_of_batches_that_differ_in_width_are_left_out_and_said(bench, kind):
    """Sequences padded to the longest of their batch: there is a loss, and no R² or own figure of a part."""
    target = "x[:n] * 2" if kind == "regression" else "y.expand(n)"
    width = 1 if kind == "regression" else 3
    bench.write_model(
        f"{HEAD}class M(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(1, {width})\n"
        f"    def forward(self, x):\n        y = self.fc(x[..., None])\n        return y[..., 0] if {width} == 1 else y\n"
        "X = torch.randn(40, 6)\nY = torch.arange(40) % 3\n"
        f"def collate(items):\n    n = int(max(y for x, y in items)) + 2\n"
        f"    return torch.stack([x[:n] for x, y in items]), torch.stack([{target} for x, y in items])\n"
        "def metrics(output, targets):\n    return {'n': len(output)}\n"
        "def build_dataset(path, split):\n    return list(zip(X, Y)) if split == 'train' else None\n"
    )
    run = bench.train(
        dataConfig={"valPath": None, "batchSize": 2, "evalBatchSize": 1, "numWorkers": 0}, trainingConfig={"epochs": 1}
    )
    row = run.of(EpochCompleted)[0]
    assert row.val_loss is not None
    assert not {"valR2", "valN"} & row.metrics.keys()
    assert "figures_left_out" in {alert.code for alert in run.of(Alert)}


PACKED = (
    "import torch\nfrom torch import nn\nfrom torch.nn.utils.rnn import pack_sequence\n\n\n"
    "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.rnn = nn.GRU(4, 8)\n"
    "        self.head = nn.Linear(8, 2)\n\n    def forward(self, x):\n        return self.head(self.rnn(x)[1][-1])\n\n\n"
    "def build_dataset(path, split):\n    return [(torch.full((1 + n % 5, 4), float(n % 2)), n % 2) for n in range(24)]\n\n\n"
    "def collate(items):\n    return pack_sequence([x for x, _ in items], enforce_sorted=False), torch.tensor([y for _, y in items])\n"
)


def test_packed_sequences_are_one_input(bench):
    bench.write_model(PACKED)
    run = bench.train(trainingConfig={"epochs": 8, "learningRate": 0.05})
    assert run.of(EpochCompleted)[-1].val_accuracy == 1.0


JOINED = """
import torch
from torch import nn


class Graphs(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        nodes = 2 + index % 3
        classes = torch.arange(nodes) % 3
        return nn.functional.one_hot(classes, 6).float(), classes


def build_dataset(path, split):
    return Graphs()


def collate(items):
    nodes, classes = zip(*items)
    return {"nodes": torch.cat(nodes), INPUTS}, torch.cat(classes)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, nodes, sizes=None):
        return self.layer(nodes)
"""


@pytest.mark.parametrize("inputs", ["", '"sizes": torch.tensor([len(each) for each in nodes])'], ids=["nodes", "sizes"])
def test_samples_that_are_joined_are_one_pass_however_many_targets_they_have(bench, inputs):
    bench.write_model(JOINED.replace("INPUTS", inputs))
    settings = {"epochs": 1, "optimizer": "SGD", "scheduler": "none", "learningRate": 1e-12}
    run = bench.train(dataConfig={"batchSize": 16}, trainingConfig=settings)
    (row,) = run.of(EpochCompleted)
    assert row.step == 3
    assert row.train_loss == pytest.approx(row.val_loss, rel=1e-6), "each target counts once"


NOT_FIRST = dataset(
    "return x, y",
    "def collate(items):\n    x, y = zip(*items)\n    return torch.stack(x).expand(5, -1, -1), torch.stack(y)",
).replace("self.fc(x)", "self.fc(x.sum(0))")


@pytest.mark.parametrize("source", [PACKED, NOT_FIRST], ids=["packed", "samples not first"])
def test_what_has_no_rows_is_cut_by_collating_fewer(bench, source):
    bench.write_model(source)
    settings = {"epochs": 2, "seed": 1}
    whole = bench.train("whole", dataConfig={"valPath": None, "microBatchSize": 16}, trainingConfig=settings)
    cut = bench.train("cut", dataConfig={"valPath": None, "microBatchSize": 3}, trainingConfig=settings)
    for name, array in whole.weights().items():
        assert np.allclose(array, cut.weights()[name], atol=1e-6), name


def test_a_batch_may_be_a_dataclass(bench):
    bench.write_model(
        "import torch\nfrom dataclasses import dataclass\nfrom torch import nn\n\n\n@dataclass\nclass Batch:\n"
        "    x: torch.Tensor\n    scale: torch.Tensor\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.fc = nn.Linear(3, 2)\n\n    def forward(self, batch):\n"
        "        assert len(batch.x) == len(batch.scale) <= 5\n        return self.fc(batch.x * batch.scale)\n\n\n"
        "def build_dataset(path, split):\n    return [(torch.ones(3) * n, n % 2) for n in range(20)]\n\n\n"
        "def collate(items):\n    x = torch.stack([x for x, _ in items])\n"
        "    return Batch(x, torch.ones(len(x), 1)), torch.tensor([y for _, y in items])\n"
    )
    run = bench.train(dataConfig={"microBatchSize": 5, "evalBatchSize": 5}, trainingConfig={"epochs": 1})
    assert run.ending.state == "succeeded"


BY_NAME = (
    "import numpy as np\nimport torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
    "        super().__init__()\n        self.fc = nn.Linear(6, 3)\n\n    def forward(self, x, keep):\n"
    "        assert keep.dtype == torch.bool\n        return self.fc(x.masked_fill(~keep, 0.0))\n"
)
ARRAYS = "\n\ndef build_dataset(path, split):\n    data = np.load(path)\n    return {}, data['y']\n"
FORMS = {
    "a file": ({"features": ["x", "keep"]}, ""),
    "a dict": ({}, ARRAYS.format("{'keep': data['keep'], 'x': data['x']}")),
    "a tuple": ({}, ARRAYS.format("(data['x'], data['keep'])")),
    "a data set": (
        {},
        "\n\ndef build_dataset(path, split):\n    data = np.load(path)\n"
        "    return [({'x': x, 'keep': k}, y) for x, k, y in zip(data['x'], data['keep'], data['y'])]\n",
    ),
}


def test_several_inputs_train_alike_wherever_they_come_from(bench):
    for name in ("train", "val"):
        arrays = dict(np.load(bench.folder / f"{name}.npz"))
        np.savez(bench.folder / f"{name}.npz", **arrays, keep=arrays["x"] > -1)
    curves = []
    for number, (config, source) in enumerate(FORMS.values()):
        bench.write_model(BY_NAME + source)
        run = bench.train(f"run-{number}", dataConfig={**config, "microBatchSize": 5}, trainingConfig={"epochs": 2})
        curves.append([(row.train_loss, row.val_loss, row.val_accuracy) for row in run.of(EpochCompleted)])
    assert all(curve == curves[0] for curve in curves)


def test_several_arrays_of_targets_want_a_data_set(bench):
    bench.write_model(BY_NAME + ARRAYS.format("data['x']").replace("data['y']", "{'a': data['y']}"))
    with pytest.raises(Failure, match="whose y is a dict") as caught:
        bench.train()
    assert "loss(output, targets)" in caught.value.error.next_move


def test_the_loss_that_is_named_says_the_task(bench):
    bench.write_model("from torch import nn\n\n\ndef build_model(outputs=1):\n    return nn.Linear(6, outputs)\n")
    for name in ("train", "val"):
        x = np.load(bench.folder / f"{name}.npz")["x"]
        labels = (x[:, :3] > 0).astype(np.float32)
        np.savez(bench.folder / f"{name}.npz", x=x, labels=labels, counts=np.round(x[:, 0] * 9).astype(np.int64))
    wanted = [("bce", "labels", 3, "valF1"), ("mse", "counts", 1, "valR2")]
    for loss, target, outputs, figure in wanted:
        run = bench.train(
            loss,
            dataConfig={"target": target, "features": ["x"]},
            modelConfig={"args": {"outputs": outputs}},
            trainingConfig={"epochs": 1, "loss": loss},
        )
        assert figure in run.of(EpochCompleted)[0].metrics


def test_several_labels_are_told_from_classes(bench):
    bench.write_model("from torch import nn\n\n\ndef build_model():\n    return nn.Linear(6, 3)\n")
    x = np.load(bench.folder / "train.npz")["x"]
    for targets, task in (
        ((x[:, :3] > 0).astype(np.int64), "binary"),
        ((x[:, :3] * 9).astype(np.int64) % 7, "regression"),
    ):
        np.savez(bench.folder / "several.npz", x=x, y=targets)
        with pytest.raises(Failure, match="one number for each target") as caught:
            bench.train(dataConfig={"trainPath": str(bench.folder / "several.npz"), "valPath": None})
        assert caught.value.error.fix[0].value == task
    mended = {"trainPath": str(bench.folder / "several.npz"), "valPath": None}
    assert bench.train("mended", dataConfig=mended, trainingConfig={"task": "regression"}).ending.state == "succeeded"


@pytest.mark.parametrize("mark", [-1, 255])
def test_a_mark_of_what_does_not_count_is_seen(bench, mark):
    """And not taken for one of 256 classes, or for an amount."""
    bench.write_model(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self, num_classes=3):\n        super().__init__()\n"
        "        self.fc = nn.Linear(1, num_classes)\n\n    def forward(self, x):\n        return self.fc(x[..., None])\n"
    )
    x = np.load(bench.folder / "train.npz")["x"]
    y = np.digitize(x, [-0.5, 0.5])
    y[:, 0] = mark
    np.savez(bench.folder / "masks.npz", x=x, y=y)
    data = {"trainPath": str(bench.folder / "masks.npz"), "valPath": None}
    with pytest.raises(Failure) as caught:
        bench.train(dataConfig=data)
    assert caught.value.error.fix is None
    assert f"set trainingConfig.lossArgs.ignore_index to {mark}" in caught.value.error.next_move
    mended = bench.train("mended", dataConfig=data, trainingConfig={"epochs": 1, "lossArgs": {"ignore_index": mark}})
    assert mended.ending.state == "succeeded"


def test_classes_that_begin_with_1_and_channels_that_stand_last_are_told(bench):
    """And not answered by a layer of another width, which would be trained with a class that does not occur."""
    bench.write_model(
        "from torch import nn\n\n\ndef build_model(num_classes=3):\n    return nn.Linear(6, num_classes)\n"
    )
    arrays = dict(np.load(bench.folder / "train.npz"))
    np.savez(bench.folder / "from-1.npz", x=arrays["x"], y=arrays["y"] + 1)
    with pytest.raises(Failure, match="3 scores per sample, but the data have 4 classes") as caught:
        bench.train(dataConfig={"trainPath": str(bench.folder / "from-1.npz"), "valPath": None})
    assert "begin with 1" in caught.value.error.next_move
    assert caught.value.error.fix is None
    bench.write_model(
        "from torch import nn\n\n\ndef build_model(in_channels=3):\n    return nn.Conv2d(in_channels, 3, 3)\n"
    )
    np.savez(bench.folder / "images.npz", x=np.zeros((70, 8, 8, 3), np.float32), y=arrays["y"])
    with pytest.raises(Failure, match="RuntimeError while running the model") as caught:
        bench.train(dataConfig={"trainPath": str(bench.folder / "images.npz"), "valPath": None})
    assert "The channels stand last" in caught.value.error.next_move
    assert caught.value.error.fix is None
