"""The batch-size finder: what it finds where memory ends, and that nothing is left of its passes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.events import Alert, CheckpointSaved, EpochCompleted, RecoveryMade, RunResolved, RunTuned
from schemas.tuning import BatchSizeFinder
from trainer_core.checkpoints.manifest import read_manifest
from trainer_core.loop.tuning import room
from trainer_core.loop.tuning.room import HostRoom
from trainer_core.stop import Stop

# More than ``limit`` samples at once find no memory, forward or backward; a failed pass has drawn and counted. Where samples
# differ in length, it is numbers that are limited.
LIMITED = """
import random
import time

import torch
from torch import nn


def run_short():
    torch.rand(3), random.random()
    torch.empty(1 << 60, dtype=torch.uint8)


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


class Limited(nn.Module):
    def __init__(self, limit, numbers, backward, seconds):
        super().__init__()
        self.settings = limit, numbers, backward, seconds
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x):
        limit, numbers, backward, seconds = self.settings
        if not self.training:
            return x
        self.seen += len(x)
        if x.numel() > numbers or (len(x) > limit and not backward):
            run_short()
        until = time.perf_counter() + seconds * max(1, (len(x) / 8) ** 2)
        while time.perf_counter() < until:
            pass
        return Strained.apply(x + 1e-3 * self.seen + 0.01 * random.random(), limit)


def build_model(limit=1000, numbers=1 << 60, backward=False, norm=False, seconds=0.0):
    return nn.Sequential(
        nn.Linear(6, 6),
        nn.Dropout(0.2),
        nn.BatchNorm1d(6) if norm else nn.Identity(),
        Limited(limit, numbers, backward, seconds),
        nn.Linear(6, 3),
    )
"""
TRAINING = {"epochs": 2, "gradientAccumulation": 4}


@pytest.fixture
def limited(bench):
    """A bench whose model does not always fit, with batches of 64 samples."""
    bench.write_model(LIMITED)
    bench.write_data(train=150)
    return bench


def found(run) -> RunTuned:
    (tuned,) = run.of(RunTuned)
    return tuned


def same_weights(one, other) -> bool:
    left, right = one.weights(), other.weights()
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def searched(bench, name="searched", args=None, **finder):
    return bench.train(
        name, trainingConfig={**TRAINING, "batchSizeFinder": finder or True}, modelConfig={"args": args or {}}
    )


@pytest.mark.parametrize("backward", [False, True])
def test_the_run_is_that_of_the_size_it_found(limited, backward):
    """To the bit, and at no cost: 64 samples a step in two passes of 32, for no more than 40 fit."""
    args = {"limit": 40, "backward": backward}
    run = searched(limited, args=args)
    tuned = found(run)
    assert (tuned.setting, tuned.found, tuned.used) == ("/dataConfig/microBatchSize", 32, 32)
    assert max(each["microBatch"] for each in tuned.measured if each["fits"]) in (38, 39, 40)
    assert min(each["microBatch"] for each in tuned.measured if not each["fits"]) > 40
    given = limited.train(
        "given", dataConfig={"microBatchSize": 32}, trainingConfig=TRAINING, modelConfig={"args": args}
    )
    assert same_weights(run, given)
    assert not run.of(RecoveryMade)


def test_what_is_resolved_names_the_size_and_searches_no_more(limited):
    run = searched(limited, args={"limit": 40})
    resolved = run.of(RunResolved)[0]
    assert resolved.chosen["/dataConfig/microBatchSize"] == 32
    assert (resolved.resolved["dataConfig"]["batchSize"], resolved.resolved["dataConfig"]["microBatchSize"]) == (16, 32)
    assert resolved.resolved["trainingConfig"]["batchSizeFinder"] is False
    assert "microBatchSize" not in limited.train("plain").of(RunResolved)[0].resolved["dataConfig"]


def test_a_size_smaller_than_the_one_asked_for(limited):
    run = searched(limited, args={"limit": 5})
    assert found(run).found == 5
    assert not run.of(RecoveryMade)
    assert run.of(EpochCompleted)[-1].train_loss is not None


def test_a_whole_optimizer_batch_is_the_most(limited):
    run = searched(limited)
    assert found(run).found == 64
    assert "batch_norm_sees_a_pass" not in {alert.code for alert in run.of(Alert)}


def test_only_suggested_it_changes_nothing(limited):
    run = searched(limited, args={"limit": 40}, action="suggest")
    assert (found(run).found, found(run).used) == (32, 16)
    assert "microBatchSize" not in run.of(RunResolved)[0].resolved["dataConfig"]
    assert same_weights(run, limited.train("given", trainingConfig=TRAINING, modelConfig={"args": {"limit": 40}}))


@pytest.mark.alone
def test_by_throughput_it_ends_where_more_are_no_faster(limited):
    """A pass takes as long for one sample as for eight, and then more than in proportion."""
    run = searched(limited, args={"seconds": 0.01}, by="throughput")
    assert found(run).found == 8
    assert [each["microBatch"] for each in found(run).measured] == [1, 2, 4, 8, 16]


def test_the_batch_with_the_longest_samples_is_tried(limited):
    """One batch of four in seven has samples of 60 numbers, of which 16 fit at once; of the others 160."""
    limited.write_model(
        LIMITED.replace("nn.Linear(6, 6)", "Cut()") + "\n\nclass Cut(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(1, 1)\n"
        "    def forward(self, x):\n        return self.layer(x[..., None])[..., 0]\n"
        "\n\nclass Head(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(6, 3)\n"
        "    def forward(self, x):\n        return self.layer(x[:, :6])\n"
        "\n\ndef build_model(numbers=960):\n"
        "    return nn.Sequential(Cut(), Limited(1000, numbers, False, 0.0), Head())\n"
        "\n\nclass Data(torch.utils.data.Dataset):\n"
        "    def __len__(self):\n        return 112\n"
        "    def __getitem__(self, index):\n"
        "        return torch.ones(60 if index // 16 == 2 else 6), index % 3\n"
        "\n\ndef build_dataset(path, split):\n    return Data()\n"
    )
    config = {
        "batchSize": 16,
        "evalBatchSize": 16,
        "valPath": None,
        "format": "modelFile",
        "numWorkers": 0,
        "shuffle": False,
    }
    for numbers, size in ((960, 16), (500, 8)):
        run = limited.train(
            f"run{numbers}",
            dataConfig=config,
            trainingConfig={"epochs": 1, "batchSizeFinder": True},
            modelConfig={"args": {"numbers": numbers}},
        )
        assert found(run).found == size
        assert not run.of(RecoveryMade)


def test_batch_normalisation_sees_a_pass_and_it_is_said(limited):
    """150 samples in windows of 64 leave one of 22: cut by 7, which fits, it would leave a single one."""
    run = searched(limited, args={"limit": 7, "norm": True})
    assert found(run).found == 6
    assert "batch_norm_sees_a_pass" in {alert.code for alert in run.of(Alert)}
    given = {"dataConfig": {"microBatchSize": found(run).found}, "modelConfig": {"args": {"limit": 7, "norm": True}}}
    assert same_weights(run, limited.train("given", trainingConfig=TRAINING, **given))


def test_not_even_one(limited):
    from trainer_core.failure import Failure

    with pytest.raises(Failure, match="Memory ran out with 1 sample at once"):
        searched(limited, args={"limit": 0})


def test_a_resumed_run_does_not_search_again(limited):
    limited.write_model(LIMITED.replace(", persistent=False", ""))
    finder = {**TRAINING, "batchSizeFinder": True}
    args = {"args": {"limit": 40}}
    whole = limited.train("whole", trainingConfig=finder, modelConfig=args, checkpointConfig={"keepLast": 5})
    assert read_manifest(Path(whole.of(CheckpointSaved)[0].path)).about["microBatch"] == "32"
    resume = {"resumeFrom": str(whole.run_folder / "epoch-0001")}
    resumed = limited.train("resumed", trainingConfig=finder, modelConfig=args, checkpointConfig=resume)
    assert not resumed.of(RunTuned)
    assert resumed.of(RunResolved)[0].resolved["dataConfig"]["microBatchSize"] == 32
    assert same_weights(resumed, whole)


def test_a_stop_ends_the_search(limited, stopping_channel):
    stop = Stop()
    channel = stopping_channel(stop, "log", 1)
    run = limited.train("run", channel=channel, stop=stop, trainingConfig={"batchSizeFinder": True})
    assert run.ending.state == "stopped"
    assert (found(run).found, found(run).measured) == (None, [])
    assert "learning_rate_not_found" not in {alert.code for alert in run.of(Alert)}


def test_on_a_host_what_is_expected_to_be_too_much_is_not_tried(monkeypatch):
    """A kernel would end the process. 125 MB are there, of which 40 were in use; 10 samples took 30 more, and 20 no more than
    those."""
    peaks = iter([40e6, 70e6, 70e6])
    monkeypatch.setattr(room, "memory_in_use", lambda _device: 20e6)
    monkeypatch.setattr(room, "memory_limit", lambda _device: 125e6)
    monkeypatch.setattr(room, "peak_of_process", lambda: next(peaks))
    host = HostRoom(torch.device("cpu"))
    assert host.expects(10**6)
    host.note(10)
    host.note(20)
    assert [host.expects(size) for size in (10, 20, 21, 40)] == [True, True, False, False]


def test_the_peak_of_this_process_is_no_less_than_what_it_has():
    held = torch.ones(1 << 25)
    assert 0.9 * room.memory_in_use(held.device) < room.peak_of_process() < room.memory_limit(held.device)


def test_true_means_the_usual_options():
    from schemas.training import TrainingConfig

    assert TrainingConfig(batch_size_finder=True).size_search == BatchSizeFinder()
    assert TrainingConfig().size_search is None
