"""The learning-rate finder: what it finds, and that nothing is left of its steps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from schemas.events import Alert, CheckpointSaved, EpochCompleted, ModelLoaded, RecoveryMade, RunResolved, RunTuned
from schemas.optimizers import OPTIMIZERS
from schemas.tuning import LearningRateFinder
from trainer_core.channel import Channel
from trainer_core.checkpoints.snapshot import load_snapshot
from trainer_core.engines.native import train
from trainer_core.loop.tuning.learning_rate import rates_of
from trainer_core.stop import Stop

# Draws from every generator, counts in a buffer that is not saved, and has matrices alone, which every optimizer trains.
STATEFUL = """
import random

import numpy as np
import torch
from torch import nn


class Seen(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.extra = 0

    def forward(self, x):
        if self.training:
            self.seen += 1
            self.extra += 1
        return x * (1 + 0.01 * random.random() + 0.01 * np.random.rand()) + 1e-3 * self.seen + 1e-3 * self.extra

    def get_extra_state(self):
        return {"extra": self.extra}

    def set_extra_state(self, state):
        self.extra = state["extra"]


def build_model(norm=True):
    return nn.Sequential(
        nn.Linear(6, 16, bias=False),
        nn.BatchNorm1d(16, affine=False) if norm else nn.Identity(),
        Seen(),
        nn.Tanh(),
        nn.Dropout(0.2),
        nn.Linear(16, 3, bias=False),
    )
"""
QUICK = {"steps": 30, "minLearningRate": 1e-5, "maxLearningRate": 10.0}


def found(run) -> RunTuned:
    (tuned,) = run.of(RunTuned)
    return tuned


def same_weights(one, other) -> bool:
    left, right = one.weights(), other.weights()
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def rows(run) -> list[dict]:
    """Rows of the curve without what a clock says."""
    clocked = {"seconds", "samples_per_second", "data_wait_seconds", "evaluation_seconds"}
    return [row.model_dump(exclude=clocked) for row in run.of(EpochCompleted)]


def kept(run) -> list:
    """What the last checkpoint keeps beside the weights: optimizer, scaler, position, generators."""
    snapshot = load_snapshot(Path(run.of(CheckpointSaved)[-1].path))
    state = {name: snapshot.state[name] for name in ("precision", "position", "schedule", "averaging")}
    return [snapshot.optimizer, state, snapshot.random]


def told(value) -> str:
    """All of ``value``, every number of its tensors included."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {value.tolist()}"
    if isinstance(value, dict):
        return str({key: told(each) for key, each in value.items()})
    return str([told(each) for each in value]) if isinstance(value, list | tuple) else repr(value)


CASES = {
    "plain": {},
    "accumulated, averaged": {"gradientAccumulation": 2, "weightAveraging": {"method": "ema", "decay": 0.9}},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "one cycle": {"scheduler": "OneCycleLR"},
    "plateau": {"scheduler": "ReduceLROnPlateau"},
    "own rates": {"parameterGroups": [{"match": "0", "learningRate": 0.003}, {"match": "5", "learningRateFactor": 3}]},
}


@pytest.mark.parametrize("training", CASES.values(), ids=CASES)
def test_the_run_is_that_of_the_rate_it_found(bench, training):
    """To the bit: weights, buffers, optimizer, scaler, generators, order of data and schedule are those of a run that was
    given the rate."""
    bench.write_model(STATEFUL)
    searched = bench.train("searched", trainingConfig={"learningRate": 1e-6, "learningRateFinder": QUICK, **training})
    assert found(searched).used == found(searched).found != 1e-6
    assert not {"learning_rate_not_found", "batch_norm_sees_a_pass"} & {alert.code for alert in searched.of(Alert)}
    given = bench.train("given", trainingConfig={"learningRate": found(searched).used, **training})
    assert same_weights(searched, given)
    assert rows(searched) == rows(given)
    assert told(kept(searched)) == told(kept(given))


@pytest.mark.parametrize("optimizer", [entry.name for entry in OPTIMIZERS])
def test_no_optimizer_remembers(bench, optimizer):
    bench.write_model(STATEFUL)
    training = {"epochs": 1, "optimizer": optimizer, "learningRate": 0.01}
    finder = {"action": "suggest", "steps": 20}
    searched = bench.train("searched", trainingConfig={**training, "learningRateFinder": finder})
    assert same_weights(searched, bench.train("given", trainingConfig=training))


def test_a_stream_of_data_begins_anew(bench):
    """A data set that is read sample by sample, and draws."""
    bench.write_model(
        STATEFUL + "\n\nclass Data(torch.utils.data.Dataset):\n"
        "    def __len__(self):\n        return 40\n"
        "    def __getitem__(self, index):\n"
        "        return torch.randn(6) + index % 3 + random.random(), index % 3\n"
        "\n\ndef build_dataset(path, split):\n    return Data()\n"
    )
    config = {"batchSize": 16, "valPath": None, "format": "modelFile", "numWorkers": 0}
    finder = {"action": "suggest", **QUICK}
    searched = bench.train("searched", dataConfig=config, trainingConfig={"learningRateFinder": finder})
    assert same_weights(searched, bench.train("given", dataConfig=config))


def test_only_suggested_it_changes_nothing_and_is_said(bench):
    run = bench.train("run", trainingConfig={"learningRateFinder": {"action": "suggest", **QUICK}})
    tuned = found(run)
    assert (tuned.setting, tuned.used) == ("/trainingConfig/learningRate", 0.01)
    assert tuned.found not in (None, 0.01)
    resolved = run.of(RunResolved)[0]
    assert resolved.resolved["trainingConfig"]["learningRate"] == 0.01
    assert resolved.resolved["trainingConfig"]["learningRateFinder"]["action"] == "suggest"
    tried = [point["learningRate"] for point in tuned.measured]
    assert (
        tried
        == rates_of(LearningRateFinder(**{"steps": 30, "min_learning_rate": 1e-5, "max_learning_rate": 10.0}))[
            : len(tried)
        ]
    )


def test_a_resumed_run_to_which_a_rate_is_suggested_takes_the_one_asked_for(bench):
    finder = {"learningRateFinder": {"action": "suggest", **QUICK}}
    first = bench.train("first", trainingConfig={"epochs": 1, "learningRate": 0.01, **finder})
    resume = {"resumeFrom": str(first.run_folder)}
    second = bench.train(
        "second", trainingConfig={"epochs": 2, "learningRate": 0.02, **finder}, checkpointConfig=resume
    )
    assert second.of(RunResolved)[0].resolved["trainingConfig"]["learningRate"] == 0.02


def test_used_it_stands_in_what_was_resolved(bench):
    run = bench.train("run", trainingConfig={"learningRate": None, "learningRateFinder": True})
    tuned = found(run)
    assert tuned.used == tuned.found
    resolved = run.of(RunResolved)[0]
    assert resolved.chosen["/trainingConfig/learningRate"] == tuned.used
    assert resolved.resolved["trainingConfig"]["learningRate"] == tuned.used
    assert resolved.resolved["trainingConfig"]["learningRateFinder"] is False
    kinds = [type(data) for data in run.said]
    assert kinds.index(RunResolved) < kinds.index(ModelLoaded) < kinds.index(RunTuned) < kinds.index(EpochCompleted)


def test_it_ends_where_the_loss_runs_away(bench):
    """SGD at a rate of up to a million."""
    finder = {"maxLearningRate": 1000, "minLearningRate": 0.001, "steps": 60}
    bench.write_model(
        "from torch import nn\n\n\ndef build_model():\n    return nn.Sequential(nn.Linear(6, 16), nn.Linear(16, 3))\n"
    )
    run = bench.train("run", trainingConfig={"optimizer": "SGD", "gradientClipping": 0, "learningRateFinder": finder})
    tuned = found(run)
    assert len(tuned.measured) < 60
    assert "ran away" in tuned.reason or "not finite" in tuned.reason
    assert 0.001 < tuned.found < tuned.measured[-1]["learningRate"]
    assert not run.of(RecoveryMade)
    assert run.of(EpochCompleted)[-1].train_loss < run.of(EpochCompleted)[0].train_loss


def test_without_a_descent_it_suggests_nothing(bench):
    """Rates at which nothing moves."""
    finder = {"minLearningRate": 1e-12, "maxLearningRate": 1e-10}
    run = bench.train("run", trainingConfig={"learningRateFinder": finder})
    assert (found(run).found, found(run).used) == (None, 0.01)
    (alert,) = [alert for alert in run.of(Alert) if alert.code == "learning_rate_not_found"]
    assert "0.01" in alert.message
    assert run.of(RunResolved)[0].resolved["trainingConfig"]["learningRate"] == 0.01
    assert same_weights(run, bench.train("given"))


def test_a_resumed_run_does_not_search_again(bench):
    """It goes on at the rate of its checkpoint, to the weights of a run that was not interrupted."""
    training = {"epochs": 2, "learningRate": None, "learningRateFinder": QUICK}
    whole = bench.train("whole", trainingConfig=training, checkpointConfig={"keepLast": 5})
    resume = {"resumeFrom": str(whole.run_folder / "epoch-0001")}
    resumed = bench.train("resumed", trainingConfig=training, checkpointConfig=resume)
    assert not resumed.of(RunTuned)
    assert resumed.of(RunResolved)[0].chosen["/trainingConfig/learningRate"] == found(whole).used
    assert same_weights(resumed, whole)


def test_a_stop_ends_the_search(bench, stopping_channel):
    stop = Stop()
    channel = stopping_channel(stop, "log", 1)
    run = bench.train("run", channel=channel, stop=stop, trainingConfig={"learningRateFinder": True})
    assert run.ending.state == "stopped"
    assert len(found(run).measured) <= 1
    assert found(run).found is None
    assert not run.of(EpochCompleted)


def test_a_quick_try_takes_one_step_and_no_search(bench):
    run = bench.train("run", trainingConfig={"fastDevRun": True, "learningRateFinder": True})
    assert not run.of(RunTuned)
    assert any("learningRateFinder" in alert.message for alert in run.of(Alert) if alert.code == "no_effect")


def test_two_ranks_find_what_one_finds_and_forget_it(bench):
    """They agree on the rate, and train the model that one process trains with it."""
    training = {"epochs": 1, "optimizer": "SGD", "learningRateFinder": QUICK}
    one = bench.train("one", trainingConfig=training)
    assignment = bench.assignment("two", ("cpu", "cpu"), trainingConfig={**training, "strategy": "ddp", "devices": 2})
    assert train(assignment, Channel(), Stop()).state == "succeeded"
    lines = [json.loads(line) for line in (Path(assignment.attempt_folder) / "events.jsonl").read_text().splitlines()]
    (tuned,) = [line["data"] for line in lines if line["type"] == RunTuned.event_type]
    assert tuned["used"] == tuned["found"] == found(one).found
    given = bench.train("given", trainingConfig={"epochs": 1, "optimizer": "SGD", "learningRate": tuned["used"]})
    folder = Path(assignment.run_folder)
    saved = load_file(folder / (folder / "latest").read_text().strip() / "model.safetensors")
    assert max(np.abs(saved[name] - value).max() for name, value in given.weights().items()) <= 1e-5


@pytest.mark.parametrize("mode", ["exponential", "linear"])
def test_the_rates_rise_from_bound_to_bound(mode):
    rates = rates_of(LearningRateFinder(mode=mode, min_learning_rate=1e-4, max_learning_rate=1e-1, steps=31))
    assert (len(rates), rates[0], rates[-1]) == (31, 1e-4, pytest.approx(1e-1))
    steps = np.diff(np.log(rates) if mode == "exponential" else rates)
    assert np.allclose(steps, steps[0])
