"""On a GPU: a size beyond its memory is found by what it says itself, steps are undone there too, and its kernels are profiled."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.events import RecoveryMade, RunTuned

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU = ("cuda:0",)

# A pass takes ``gib`` of memory for each sample.
HUNGRY = """
import torch
from torch import nn


class Hungry(nn.Module):
    def __init__(self, gib):
        super().__init__()
        self.numbers = int(gib * 2**28)

    def forward(self, x):
        if self.training:
            torch.empty(len(x), self.numbers, device=x.device)
        return x


def build_model(gib=0.0):
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), Hungry(gib), nn.Linear(16, 3))
"""


def same_weights(one, other) -> bool:
    left, right = one.weights(), other.weights()
    return all(np.array_equal(left[name], right[name]) for name in left)


def test_the_size_that_fits_is_found(bench):
    bench.write_model(HUNGRY)
    bench.write_data(train=256)
    share = torch.cuda.get_device_properties(0).total_memory / 2**30 / 100
    training = {"epochs": 1, "gradientAccumulation": 16, "deterministic": True}
    args = {"modelConfig": {"args": {"gib": share}}}
    run = bench.train("run", GPU, trainingConfig={**training, "batchSizeFinder": True}, **args)
    (tuned,) = run.of(RunTuned)
    assert 43 <= tuned.used <= 86
    assert not run.of(RecoveryMade)
    given = bench.train("given", GPU, trainingConfig=training, dataConfig={"microBatchSize": tuned.used}, **args)
    assert same_weights(run, given)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_run_is_that_of_the_rate_it_found(bench, precision):
    bench.write_model(HUNGRY)
    training = {"precision": precision, "deterministic": True}
    run = bench.train("run", GPU, trainingConfig={**training, "learningRateFinder": True})
    (tuned,) = run.of(RunTuned)
    assert same_weights(run, bench.train("given", GPU, trainingConfig={**training, "learningRate": tuned.used}))


def test_kernels_are_in_the_trace(bench):
    run = bench.train("run", GPU, trainingConfig={"profiler": True})
    (trace,) = [artifact for artifact in run.ending.artifacts if artifact.name == "trace.json.gz"]
    events = json.loads(gzip.decompress(Path(trace.path).read_bytes()))["traceEvents"]
    assert any(event.get("cat") == "kernel" for event in events)
