"""Model files of every kind: each trains, or is refused with a code, a place and a next move before a step is spent."""

import re

import numpy as np
import pytest

from schemas.events import Alert, EpochCompleted
from trainer_core.failure import Failure
from trainer_core.loop.material import smallest_pass

HEAD = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n\n\n"
PLAIN = HEAD + "def build_model():\n    return nn.Linear(6, 3)\n\n\n"
BATCH_NORM = HEAD + "def build_model():\n    return nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))\n"


def module(init: str = "", forward: str = "return self.fc(x)", rest: str = "") -> str:
    """A model file with one class."""
    return (
        f"{HEAD}class M(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(6, 3)\n"
        f"        {init or 'pass'}\n\n    def forward(self, x):\n        {forward}\n\n{rest}"
    )


OUTPUT_PAIR = "def loss(output, targets):\n    return F.cross_entropy(output[0], targets)\n"

TRAINED = {
    "tied weights": module("self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6); self.b.weight = self.a.weight"),
    "frozen": module("self.a = nn.Linear(6, 6).requires_grad_(False)", "return self.fc(self.a(x))"),
    "unused parameter": module("self.unused = nn.Linear(3, 3)"),
    "buffer that changes": module("self.register_buffer('n', torch.zeros(()))", "self.n += 1; return self.fc(x)"),
    "buffer that is replaced": module(
        "self.register_buffer('n', torch.zeros(()))", "self.n = self.n + 1; return self.fc(x)"
    ),
    "buffer that is expanded": module("self.register_buffer('n', torch.zeros(1).expand(4))"),
    "buffer made late": module(forward="self.register_buffer('late', torch.ones(1)); return self.fc(x)"),
    "buffer that grows": module(
        "self.register_buffer('n', torch.zeros(1))", "self.n = torch.cat([self.n, self.n[:1]]); return self.fc(x)"
    ),
    "complex parameters": module(
        "self.w = nn.Parameter(torch.randn(6, 3, dtype=torch.complex64))", "return (x.to(self.w.dtype) @ self.w).abs()"
    ),
    "complex outputs": module(
        "self.w = nn.Parameter(torch.randn(6, 3, dtype=torch.complex64))",
        "return x.to(self.w.dtype) @ self.w",
        "def loss(output, targets):\n    return F.cross_entropy(output.abs(), targets)\n",
    ),
    "float64": module("self.double()", "return self.fc(x.double())"),
    "named tuple": module(
        "",
        "return torch.max(self.fc(x)[..., None], dim=-1)",
        OUTPUT_PAIR + "def metrics(o, t):\n    return {'n': len(o[0])}\n",
    ),
    "extra state": module(
        rest="    def get_extra_state(self): return {'a': 1}\n    def set_extra_state(self, state): pass\n"
    ),
    "a script's guard": PLAIN + "if __name__ == '__main__':\n    raise SystemExit\n",
    "torch's own attention over padded sequences": module(
        "self.e = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 2)",
        "pad = torch.arange(3) > 1; x = self.e(x[:, None].repeat(1, 3, 1), src_key_padding_mask=pad.expand(len(x), 3)); "
        "return self.fc(x[:, 0])",
    ),
    "a prefix of outputs per sample": module(
        forward="return self.fc(x)[:, None]", rest=OUTPUT_PAIR.replace("[0]", "[:, 0]")
    ),
}


@pytest.mark.parametrize("source", TRAINED.values(), ids=TRAINED.keys())
def test_it_trains_with_threads_measured(bench, source):
    bench.write_model(source)
    run = bench.train(trainingConfig={"epochs": 1}, resources={"threads": None})
    assert run.ending.state == "succeeded"
    assert run.of(EpochCompleted)[0].val_loss is not None


REFUSED: dict[str, tuple[str, str, str]] = {
    "detached loss": (
        PLAIN + "def loss(output, targets):\n    return F.cross_entropy(output, targets).detach()\n",
        "model_invalid",
        "The loss has no gradient",
    ),
    "nothing trainable": (module("self.requires_grad_(False)"), "model_invalid", "The loss has no gradient"),
    "complex loss": (
        PLAIN + "def loss(output, targets):\n    return F.cross_entropy(output, targets) * 1j\n",
        "model_invalid",
        "a complex number",
    ),
    "float loss": (PLAIN + "def loss(o, t):\n    return 1.0\n", "model_invalid", "returned a float"),
    "negative count": (
        PLAIN + "def loss(o, t):\n    return F.cross_entropy(o, t), -3\n",
        "model_invalid",
        "counted -3 targets",
    ),
    "backward fails": (
        module(forward="y = self.fc(x).sigmoid(); z = y * y; y.add_(1); return z"),
        "model_invalid",
        "gradients",
    ),
    "sparse gradient": (
        module("self.e = nn.Embedding(9, 3, sparse=True)", "return self.fc(x) + self.e(x[:, 0].long().clamp(0, 8))"),
        "model_invalid",
        "The gradient of 'e.weight' is sparse",
    ),
    "meta device": (PLAIN.replace("nn.Linear(6, 3)", "nn.Linear(6, 3, device='meta')"), "model_invalid", "meta device"),
    "complex outputs": (module(forward="return self.fc(x) * 1j"), "model_invalid", "complex numbers"),
    "type without a name": (
        module("self.register_buffer('z', torch.zeros(2, dtype=torch.complex128))"),
        "model_invalid",
        "'z' cannot be kept in a checkpoint",
    ),
    "sparse buffer": (
        module("self.register_buffer('z', torch.eye(2).to_sparse())"),
        "model_invalid",
        "'z' cannot be kept",
    ),
    "strange extra state": (
        module(rest="    def get_extra_state(self): return object()\n    def set_extra_state(self, state): pass\n"),
        "model_invalid",
        "_extra_state: a object cannot be kept",
    ),
    "state_dict fails": (
        module(rest="    def state_dict(self, *a, **k): raise KeyError('no')\n"),
        "model_invalid",
        "KeyError while reading the model's state_dict()",
    ),
    "cannot be moved": (
        module(rest="    def to(self, *a): raise ValueError('no')\n"),
        "model_invalid",
        "moving the model to cpu",
    ),
    "no mode of evaluation": (
        module(rest="    def eval(self): raise ValueError('no')\n"),
        "model_invalid",
        "moving the model",
    ),
    "exit": (module(forward="raise SystemExit(0)"), "model_invalid", "SystemExit while running the model (line 13"),
    "no error": (HEAD + "class Odd(BaseException): pass\nraise Odd\n", "model_import_failed", "Odd while importing"),
    "relative import": ("from . import helper\n" + PLAIN, "model_import_failed", "A relative import failed"),
    "recursion": (module(forward="return self.forward(x)"), "model_invalid", "RecursionError"),
    "ragged metrics": (PLAIN + "def metrics(o, t):\n    return {'a': o}\n", "model_invalid", "a Tensor for 'a'"),
}


@pytest.mark.parametrize(("source", "code", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused(bench, source, code, message):
    bench.write_model(source)
    with pytest.raises(Failure) as caught:
        bench.train(trainingConfig={"epochs": 1}, resources={"threads": None})
    assert caught.value.error.code == code
    assert message in caught.value.error.message
    assert not list((bench.folder / "runs" / "run").glob("epoch-*")), "nothing was trained"


def test_a_file_in_another_encoding_is_no_python(bench):
    (bench.folder / "model.py").write_bytes(b"# \xe9\n" + PLAIN.encode())
    with pytest.raises(Failure, match="not valid Python") as caught:
        bench.train()
    assert caught.value.error.code == "model_import_failed"


def test_a_loss_that_is_detached_later_is_told(bench):
    bench.write_model(
        PLAIN + "calls = [0]\n\n\ndef loss(o, t):\n    calls[0] += 1\n    value = F.cross_entropy(o, t)\n"
        "    return value.detach() if calls[0] > 5 else value\n"
    )
    with pytest.raises(Failure, match="The loss has no gradient"):
        bench.train()


def test_a_named_tuple_that_is_not_finite_is_looked_into(bench):
    bench.write_model(
        module(
            "self.n = 0",
            "self.n += self.training; return torch.max(self.fc(x)[..., None] * (float('inf') if self.n > 3 else 1), dim=-1)",
            OUTPUT_PAIR,
        )
    )
    with pytest.raises(Failure, match="the output of the model") as caught:
        bench.train(trainingConfig={"recovery": {"nonFinite": "fail"}})
    assert caught.value.error.code == "diverged"


@pytest.mark.parametrize("source", [TRAINED["extra state"], TRAINED["tied weights"], TRAINED["complex parameters"]])
def test_what_a_model_keeps_comes_back(bench, source):
    bench.write_model(source)
    whole = bench.train("whole", trainingConfig={"epochs": 2}, checkpointConfig={"keepLast": 9})
    resumed = bench.train(
        "resumed", trainingConfig={"epochs": 2}, checkpointConfig={"resumeFrom": str(whole.run_folder / "epoch-0001")}
    )
    for name, tensor in whole.weights().items():
        assert np.array_equal(tensor, resumed.weights()[name]), name


STILL = {
    "a method": module(
        "self.norm = nn.BatchNorm1d(6)",
        "return self.fc(self.norm(x))",
        "    def train(self, mode=True):\n        super().train(mode)\n        self.norm.eval()\n        return self\n",
    ),
    "a method of a part": HEAD
    + "class Part(nn.BatchNorm1d):\n    def train(self, mode=True):\n        return super().train(False)\n\n\n"
    "def build_model():\n    return nn.Sequential(Part(6), nn.Linear(6, 3))\n",
    "put in its place": module(
        "self.norm = nn.BatchNorm1d(6).eval(); self.norm.train = lambda mode=True: self.norm",
        "return self.fc(self.norm(x))",
    ),
    "in evaluation mode from the beginning": module(
        "self.norm = nn.BatchNorm1d(6).eval()", "return self.fc(self.norm(x))"
    ),
}


@pytest.mark.parametrize("source", STILL.values(), ids=STILL.keys())
def test_what_a_model_file_holds_still_stands_still(bench, source):
    bench.write_model(source)
    weights = bench.train(trainingConfig={"epochs": 2}).weights()
    (mean,) = [tensor for name, tensor in weights.items() if name.endswith("running_mean")]
    assert not mean.any()


def test_a_model_that_trains_when_told_to_is_told(bench):
    bench.write_model(
        module(
            "self.on = False",
            "assert self.on == self.training; return self.fc(x)",
            "    def train(self, mode=True):\n        self.on = mode\n        return super().train(mode)\n",
        )
    )
    assert bench.train(trainingConfig={"epochs": 1}).ending.state == "succeeded"


@pytest.mark.parametrize("name", ["buffer that grows", "buffer that is replaced", "a buffer of each batch"])
def test_buffers_of_any_shape_go_with_an_average(bench, name):
    sources = TRAINED | {
        "a buffer of each batch": module(
            "self.register_buffer('seen', None, persistent=False)", "self.seen = self.fc(x).detach(); return self.fc(x)"
        )
    }
    bench.write_model(sources[name])
    averaged = {"weightAveraging": {"decay": 0.5}, "epochs": 2}
    plain, mean = bench.train("plain", trainingConfig={"epochs": 2}), bench.train("mean", trainingConfig=averaged)
    assert [row.train_loss for row in mean.of(EpochCompleted)] == [row.train_loss for row in plain.of(EpochCompleted)]


def test_an_average_has_the_buffers_of_the_trained_model_whatever_their_shape(bench):
    bench.write_model(
        module(
            "self.register_buffer('seen', torch.zeros(1))",
            "self.seen = x.sum(dim=1) if self.training else self.seen; return self.fc(x)",
        )
    )
    averaged = {"weightAveraging": {"decay": 0.5}, "epochs": 2}
    plain, mean = bench.train("plain", trainingConfig={"epochs": 2}), bench.train("mean", trainingConfig=averaged)
    assert np.array_equal(mean.weights()["seen"], plain.weights()["seen"])


RANKS = HEAD + (
    "def build_model():\n    return nn.Linear(6, 2)\n\n\ndef loss(output, targets):\n"
    "    levels = (targets[:, None] > torch.arange(2)).float()\n"
    "    return F.binary_cross_entropy_with_logits(output, levels)\n"
)


def test_numbers_that_are_no_scores_of_classes_give_no_accuracy(bench):
    bench.write_model(RANKS)
    run = bench.train(trainingConfig={"epochs": 1, "metrics": ["log_loss"]})
    row = run.of(EpochCompleted)[0]
    assert row.val_loss is not None
    assert row.val_accuracy is None
    assert row.train_accuracy is None
    assert not row.metrics
    (said,) = [alert for alert in run.of(Alert) if alert.code == "figures_left_out"]
    assert "2 numbers for 3 classes" in said.message


FOREIGN = {
    "loss": ("def loss(model, output, target):\n    return output.mean()\n", "called as loss(output, targets)"),
    "metrics": ("def metrics(outputs):\n    return {}\n", "called as metrics(outputs, targets)"),
}


@pytest.mark.parametrize(("rest", "message"), FOREIGN.values(), ids=FOREIGN.keys())
def test_functions_that_take_other_arguments_are_told_at_once(bench, rest, message):
    bench.write_model(PLAIN + rest)
    with pytest.raises(Failure, match=re.escape(message)) as caught:
        bench.train()
    assert caught.value.error.place.line == 10


def test_a_loss_that_is_not_called_may_take_what_it_likes(bench):
    bench.write_model(PLAIN + FOREIGN["loss"][0])
    assert bench.train(trainingConfig={"epochs": 1, "loss": "cross_entropy"}).ending.state == "succeeded"


@pytest.mark.parametrize(
    ("source", "said"),
    [(module("self.double()"), "float32"), (module(forward="return self.fc(x.long())"), "float32")],
    ids=["float64 weights", "whole numbers"],
)
def test_a_layer_of_another_type_is_no_layer_of_another_width(bench, source, said):
    bench.write_model(source.replace("def __init__(self)", "def __init__(self, in_features=7)"))
    with pytest.raises(Failure, match="RuntimeError while running the model") as caught:
        bench.train()
    assert f"The inputs are {said}" in caught.value.error.next_move
    assert caught.value.error.fix is None


def test_two_scores_in_a_binary_task_are_two_classes(bench):
    bench.write_data(classes=2)
    bench.write_model(HEAD + "def build_model():\n    return nn.Linear(6, 2)\n")
    with pytest.raises(Failure, match="two scores for each target") as caught:
        bench.train(trainingConfig={"task": "binary"})
    assert caught.value.error.fix[0].value == "classification"
    assert bench.train("mended", trainingConfig={"task": "classification", "epochs": 1}).ending.state == "succeeded"


STEPS = "    def training_step(self, batch, number):\n        return F.l1_loss(self(batch[0]), batch[1])\n\n"
OWN = "\n\ndef loss(output, targets):\n    return F.cross_entropy(output, targets)\n"


@pytest.mark.parametrize(("rest", "said"), [(STEPS, 1), (STEPS + OWN, 0), (OWN, 0)], ids=["steps", "both", "loss"])
def test_methods_that_another_trainer_would_call_are_said(bench, rest, said):
    bench.write_model(module(rest=rest))
    alerts = [alert for alert in bench.train(trainingConfig={"epochs": 1}).of(Alert) if alert.code == "not_called"]
    assert len(alerts) == said
    assert all("M.training_step of the model file will not be called" in alert.message for alert in alerts)


CLASSES = {
    "dataclass": "from dataclasses import dataclass\n\n\n@dataclass\nclass Out:\n    logits: torch.Tensor\n"
    "    loss: torch.Tensor | None = None\n",
    "ordered dict that is a dataclass": "from collections import OrderedDict\nfrom dataclasses import dataclass, fields\n\n\n"
    "@dataclass\nclass Out(OrderedDict):\n    logits: torch.Tensor = None\n    loss: torch.Tensor | None = None\n\n"
    "    def __post_init__(self):\n        for field in fields(self):\n            value = getattr(self, field.name)\n"
    "            if value is not None:\n                self[field.name] = value\n",
    "named tuple": "from typing import NamedTuple\n\n\nclass Out(NamedTuple):\n    logits: torch.Tensor\n",
    "dict with attributes": "class Out(dict):\n    __getattr__ = dict.__getitem__\n",
}


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES.keys())
def test_metrics_get_outputs_of_the_class_that_the_model_returns(bench, kind):
    bench.write_model(
        HEAD
        + kind
        + "\n\n"
        + module(forward="return Out(logits=self.fc(x))").removeprefix(HEAD)
        + "def loss(output, targets):\n    return F.cross_entropy(output.logits, targets)\n\n\n"
        "def metrics(outputs, targets):\n    assert type(outputs) is Out and len(outputs.logits) == len(targets)\n"
        "    return {'hits': (outputs.logits.argmax(1) == targets).float().mean()}\n"
    )
    named = bench.train(dataConfig={"evalBatchSize": 7}, trainingConfig={"epochs": 1}).of(EpochCompleted)[0]
    bench.write_model(PLAIN)
    plain = bench.train("plain", dataConfig={"evalBatchSize": 7}, trainingConfig={"epochs": 1}).of(EpochCompleted)[0]
    assert named.train_loss == plain.train_loss
    assert named.metrics["valHits"] == pytest.approx(plain.val_accuracy)


def test_a_list_for_each_sample_leaves_metrics_out_and_says_so(bench):
    bench.write_model(
        module(
            forward="return list(self.fc(x))",
            rest="def loss(output, targets):\n    return F.cross_entropy(torch.stack(output), targets)\n\n\n"
            "def metrics(outputs, targets):\n    return {'n': len(outputs)}\n",
        )
    )
    run = bench.train(dataConfig={"evalBatchSize": 7}, trainingConfig={"epochs": 1})
    assert "valN" not in run.of(EpochCompleted)[0].metrics
    (said,) = [alert for alert in run.of(Alert) if alert.code == "figures_left_out"]
    assert "differ in number from batch to batch" in said.message


def test_a_buffer_of_another_shape_is_another_model(bench):
    bench.write_model(TRAINED["buffer that grows"])
    first = bench.train("first", trainingConfig={"epochs": 1})
    with pytest.raises(Failure, match="is of another model: n is") as caught:
        bench.train("second", checkpointConfig={"resumeFrom": str(first.run_folder)})
    assert caught.value.error.code == "checkpoint_incompatible"


@pytest.mark.parametrize(("samples", "size", "fitting"), [(65, 16, 17), (64, 1, 2), (33, 16, 17), (7, 2, 4)])
def test_batch_normalisation_of_one_sample_is_found_before_training(bench, samples, size, fitting):
    bench.write_model(BATCH_NORM)
    bench.write_data(train=samples)
    with pytest.raises(Failure, match="Batch normalisation cannot learn from a single sample") as caught:
        bench.train(dataConfig={"batchSize": size})
    assert caught.value.error.fix[0].value == fitting
    assert not (bench.folder / "runs" / "run" / "latest").exists()
    assert bench.train("mended", dataConfig={"batchSize": fitting}, trainingConfig={"epochs": 1}).of(EpochCompleted)


def test_the_smallest_pass():
    assert smallest_pass(70, 16, 1, 1) == 6
    assert smallest_pass(70, 16, 2, 1) == 6
    assert smallest_pass(65, 16, 4, 1) == 1
    assert smallest_pass(64, 16, 4, 1) == 16
    assert smallest_pass(1000, 1_000_000, 1, 1) == 1000
    assert smallest_pass(34, 16, 1, 2) == 1, "each of two ranks gets one of the last two samples"


def test_an_epoch_of_which_nothing_counts_is_said(bench):
    run = bench.train(trainingConfig={"epochs": 1, "loss": "cross_entropy", "lossArgs": {"weight": [0, 0, 0]}})
    assert "nothing_counted" in {alert.code for alert in run.of(Alert)}


def test_sequences_longer_or_shorter_than_the_classes_are_many(bench):
    """(N, T) targets of C classes with (N, T, C) outputs: T is not the number of scores."""
    x = np.arange(40 * 5).reshape(40, 5) % 10
    for name in ("train", "val"):
        np.savez(bench.folder / f"{name}.npz", x=x, y=x)
    bench.write_model(
        HEAD + "def build_model(classes=10):\n    return nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, classes))\n"
    )
    assert bench.train(trainingConfig={"epochs": 1}).of(EpochCompleted)[0].val_accuracy is not None
    with pytest.raises(Failure, match="The model gives 7 scores per sample, but the data have 10 classes") as caught:
        bench.train("few", modelConfig={"args": {"classes": 7}})
    assert caught.value.error.fix[0].value["args"] == {"classes": 10}


def test_an_ignored_class_beyond_the_scores_needs_none(bench):
    rows = dict(np.load(bench.folder / "train.npz"))
    rows["y"][5] = 255
    np.savez(bench.folder / "train.npz", **rows)
    bench.write_model(PLAIN)
    training = {"epochs": 1, "loss": "cross_entropy", "lossArgs": {"ignore_index": 255}}
    assert bench.train(trainingConfig=training).ending.state == "succeeded"
