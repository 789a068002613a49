"""A run that is short of memory gives what one with a smaller micro-batch gives, and says so."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from schemas.events import Alert, CheckpointSaved, EpochCompleted, RecoveryMade, RunRestored
from trainer_core.channel import Channel
from trainer_core.engines.native import train
from trainer_core.failure import Failure
from trainer_core.loop.recovery.restart import Restart, restarting
from trainer_core.stop import Stop

# More than ``limit`` samples at once do not fit, and of two ranks not more than ``later`` after the first epoch; ``flagged``
# restricts that to passes with a sample that stands out. What a failed pass held is gone when the next one comes. It has drawn
# from every generator, and counted in a buffer.
LIMITED = """
import random
import weakref

import numpy as np
import torch
from torch import nn

HELD = []


class Strained(torch.autograd.Function):
    @staticmethod
    def forward(context, x, limit):
        context.limit = limit
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        if len(gradient) > context.limit:
            run_short()
        return gradient, None


def run_short(kind="allocator"):
    held = torch.zeros(1000)
    HELD.append(weakref.ref(held))
    torch.rand(3), random.random(), np.random.rand()
    if kind == "MemoryError":
        raise MemoryError("no memory for an array")
    torch.empty(1 << 60, dtype=torch.uint8)


class Limited(nn.Module):
    def __init__(self, limit, later, evaluation_limit, where, flagged, kind):
        super().__init__()
        self.settings = limit, later, evaluation_limit, where, flagged, kind
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        limit, later, evaluation_limit, where, flagged, kind = self.settings
        if HELD and HELD.pop()() is not None:
            raise AssertionError("the failed pass still holds its tensors")
        if not self.training:
            return x if len(x) <= evaluation_limit else run_short(kind)
        self.seen += len(x)
        limit = limit if self.seen <= 35 else later
        x = x + 0.1 * random.random() + 0.1 * np.random.rand() if where == "drawing" else x
        if flagged and not (x.abs() > 8).any():
            return x
        if where == "backward":
            return Strained.apply(x, limit)
        return x if len(x) <= limit else run_short(kind)


def build_model(
    limit=1000,
    later=None,
    evaluation_limit=1000,
    where="forward",
    flagged=False,
    dropout=0.0,
    norm=False,
    kind="allocator",
):
    return nn.Sequential(
        nn.Linear(6, 6),
        nn.Dropout(dropout),
        Limited(limit, later or limit, evaluation_limit, where, flagged, kind),
        nn.BatchNorm1d(6) if norm else nn.Identity(),
        nn.Linear(6, 3),
    )
"""

WINDOW = {
    "dataConfig": {"batchSize": 16, "evalBatchSize": 16},
    "trainingConfig": {"epochs": 2, "gradientAccumulation": 2},
}
SMALLER = {
    "dataConfig": {"batchSize": 8, "evalBatchSize": 16},
    "trainingConfig": {"epochs": 2, "gradientAccumulation": 4},
}


@pytest.fixture
def limited(bench):
    """A bench whose model does not always fit; sample 40 stands out."""
    bench.write_model(LIMITED)
    rows = dict(np.load(bench.folder / "train.npz"))
    rows["x"][40, 0] = 60.0
    np.savez(bench.folder / "train.npz", **rows)
    return bench


def figures(run):
    return [(row.train_loss, row.val_loss, row.train_accuracy, row.val_accuracy) for row in run.of(EpochCompleted)]


def difference(one, other) -> float:
    """Largest difference of a weight."""
    return max(np.abs(tensor - other.weights()[name]).max() for name, tensor in one.weights().items())


@pytest.mark.parametrize("kind", ["allocator", "MemoryError"])
@pytest.mark.parametrize("where", ["forward", "backward", "drawing"])
def test_from_the_first_batch_it_is_the_run_with_the_smaller_micro_batch(limited, where, kind):
    """To the bit: dropout draws the same masks, and buffers have seen each sample once."""
    whole = limited.train("small", **SMALLER, modelConfig={"args": {"dropout": 0.3, "where": where}})
    args = {"dropout": 0.3, "limit": 8, "where": where, "kind": kind}
    short = limited.train("short", **WINDOW, modelConfig={"args": args})
    assert difference(short, whole) == 0
    assert figures(short) == figures(whole)
    assert short.weights()["2.seen"] == 140
    (made,) = short.of(RecoveryMade)
    assert (made.cause, made.action, made.equivalent) == ("out_of_memory", "micro_batch_halved", True)
    assert (made.epoch, made.step) == (1, 1)
    assert (made.before, made.after) == ({"microBatch": 16}, {"microBatch": 8})


@pytest.mark.parametrize("evaluation_limit", [8, 1000])
def test_statistics_of_a_mean_are_settled_with_the_micro_batch_that_fits(limited, evaluation_limit):
    """To the bit. What is settled is seen in evaluation mode, in which as few samples may fit."""
    averaged = {"epochs": 2, "weightAveraging": {"method": "swa", "start": 0}}
    args = {"norm": True, "evaluation_limit": evaluation_limit}
    runs = []
    for size, accumulation, limit in ((8, 4, 1000), (16, 2, 8)):
        data = {"batchSize": size, "evalBatchSize": 8}
        training = {**averaged, "gradientAccumulation": accumulation}
        model = {"args": {**args, "limit": limit}}
        runs.append(limited.train(f"{size}", dataConfig=data, trainingConfig=training, modelConfig=model))
    whole, short = runs
    assert difference(short, whole) == 0
    assert figures(short) == figures(whole)
    assert len(short.of(RecoveryMade)) == 1


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_in_the_middle_of_a_batch_nothing_is_counted_twice(limited, where):
    """Passes before the one that failed had been counted, and had left gradients."""
    whole = limited.train("small", **SMALLER)
    short = limited.train("short", **WINDOW, modelConfig={"args": {"limit": 8, "flagged": True, "where": where}})
    assert difference(short, whole) <= 1e-6
    assert np.allclose(figures(short), figures(whole), atol=1e-6)
    assert short.weights()["2.seen"] == 140
    assert len(short.of(RecoveryMade)) == 1


def test_twice_in_a_row(limited):
    whole = limited.train("small", **SMALLER)
    short = limited.train("short", **WINDOW, modelConfig={"args": {"limit": 5}})
    assert difference(short, whole) <= 1e-6
    assert [made.after for made in short.of(RecoveryMade)] == [{"microBatch": 8}, {"microBatch": 4}]


def test_a_resumed_run_does_not_find_it_out_again(limited):
    short = limited.train("short", **WINDOW, modelConfig={"args": {"limit": 8}}, checkpointConfig={"keepLast": 9})
    assert len(short.of(RecoveryMade)) == 1
    resumed = limited.train(
        "resumed",
        **WINDOW,
        modelConfig={"args": {"limit": 8}},
        checkpointConfig={"resumeFrom": str(short.run_folder / "epoch-0001")},
    )
    assert not resumed.of(RecoveryMade)
    assert difference(resumed, short) == 0


def test_evaluation_takes_smaller_batches(limited):
    whole = limited.train("whole", **WINDOW)
    short = limited.train("short", **WINDOW, modelConfig={"args": {"evaluation_limit": 5}})
    assert difference(short, whole) == 0
    assert np.allclose(figures(short), figures(whole), atol=1e-6)
    assert [(made.action, made.after) for made in short.of(RecoveryMade)] == [
        ("evaluation_batch_halved", {"evaluationBatch": 8}),
        ("evaluation_batch_halved", {"evaluationBatch": 4}),
    ]


def test_a_measurement_of_threads_leaves_it_to_the_first_batch(limited):
    short = limited.train("short", **WINDOW, modelConfig={"args": {"limit": 8}}, resources={"threads": None})
    assert len(short.of(RecoveryMade)) == 1


def test_batch_normalisation_makes_a_difference_and_it_is_said(limited):
    """70 samples in windows of 32 leave one of 6: by 5 it would be cut into 5 and a single one."""
    short = limited.train("short", **WINDOW, modelConfig={"args": {"limit": 5, "norm": True}})
    assert [made.equivalent for made in short.of(RecoveryMade)] == [False, False]
    assert "batch normalisation" in short.of(RecoveryMade)[-1].reason
    assert "batch_norm_smaller_batches" in {alert.code for alert in short.of(Alert)}
    assert all(row.val_loss is not None for row in short.of(EpochCompleted))


def test_one_sample_that_does_not_fit(limited):
    with pytest.raises(Failure, match=r"tried: 16, 8, 4, 2, 1") as caught:
        limited.train(**WINDOW, modelConfig={"args": {"limit": 0}})
    assert caught.value.error.code == "out_of_memory"
    assert caught.value.error.place.step == 1


def test_it_may_be_forbidden(limited):
    forbidden = {"trainingConfig": {"recovery": {"outOfMemory": "fail"}}}
    with pytest.raises(Failure) as caught:
        limited.train(**forbidden, modelConfig={"args": {"limit": 8}})
    assert caught.value.error.code == "out_of_memory"
    assert not list((limited.folder / "runs" / "run").glob("epoch-*"))


def test_two_ranks_start_again_together(limited):
    """From their newest checkpoint, with less at once: curve and model are those of a run that had begun so."""
    # By this seed the sample that stands out is in a full batch of the second epoch.
    small, window = (
        {**changes, "trainingConfig": {**changes["trainingConfig"], "seed": 4}} for changes in (SMALLER, WINDOW)
    )
    whole = limited.train("small", **small)
    arguments = {"later": 4, "flagged": True}
    assignment = limited.assignment("two", ("cpu", "cpu"), **window, modelConfig={"args": arguments})
    channel = Channel()
    assert train(assignment, channel, Stop()).state == "succeeded"
    made = [(data.before, data.after) for data in channel.said if isinstance(data, RecoveryMade)]
    assert made == [({"microBatch": 8}, {"microBatch": 4})]
    lines = (Path(assignment.attempt_folder) / "events.jsonl").read_text().splitlines()
    events = [(line["type"], line["data"]) for line in map(json.loads, lines)]
    saved = [data["path"] for kind, data in events if kind == CheckpointSaved.event_type]
    weights = load_file(Path(saved[-1]) / "model.safetensors")
    for name, tensor in whole.weights().items():
        if name != "2.seen":
            assert np.abs(tensor - weights[name]).max() <= 1e-6, name
    (restored,) = [data for kind, data in events if kind == RunRestored.event_type]
    assert [row["epoch"] for row in restored["history"]] == [1]
    curve = [data for kind, data in events if kind == EpochCompleted.event_type]
    assert curve[0].items() >= restored["history"][0].items()
    assert [(row["epoch"], row["step"]) for row in curve] == [(1, 3), (2, 6)]
    for row, wanted in zip(curve, whole.of(EpochCompleted), strict=True):
        for name in ("trainLoss", "valLoss", "trainAccuracy", "valAccuracy", "learningRate"):
            assert row[name] == pytest.approx(wanted.to_json()[name], abs=1e-6), name


def test_ranks_that_start_again_before_anything_was_saved_begin_anew(limited):
    """With what they have found out, and without the curve that was said; from a checkpoint once there is one."""
    assignment, channel = limited.assignment(), Channel()
    starts = []

    def start(given, limits):
        starts.append((given.request.checkpoint_config.resume_from, limits.micro_batch))
        if len(starts) == 3:
            return "trained"
        if len(starts) == 2:
            limited.train()
        size = 16 // 2 ** len(starts)
        raise Restart(
            RecoveryMade(
                cause="out_of_memory",
                action="micro_batch_halved",
                epoch=1,
                step=1,
                before={"microBatch": 2 * size},
                after={"microBatch": size},
                reason="Memory ran out.",
                equivalent=True,
            )
        )

    assert restarting(assignment, channel, start) == "trained"
    assert starts == [(None, None), (None, 8), (assignment.run_folder, 4)]
    kinds = [(type(data), getattr(data, "history", None)) for data in channel.said]
    assert kinds == [(RecoveryMade, None), (RunRestored, []), (RecoveryMade, None)]
