"""The number of CPU threads: measured, told, kept over a resume, and without a trace in the training."""

import time

import numpy as np
import pytest
import torch

from schemas.events import RunResolved
from trainer_core.loop.threads import fastest_number


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def spin(seconds_by_threads: dict[int, float]) -> None:
    """Keep this core busy for as long as a pass with the present number of threads is said to take."""
    until = time.perf_counter() + seconds_by_threads[torch.get_num_threads()]
    while time.perf_counter() < until:
        pass


@pytest.mark.alone
@pytest.mark.parametrize(
    ("seconds", "most", "number"),
    [
        pytest.param({1: 0.02, 2: 0.06}, 2, 1, id="more is slower"),
        pytest.param({1: 0.08, 2: 0.02}, 2, 2, id="more is faster"),
        pytest.param({1: 0.09, 2: 0.04, 4: 0.09}, 8, 2, id="stops where it turns"),
        pytest.param({1: 0.08, 2: 0.04, 3: 0.01}, 3, 3, id="tries the last core"),
        pytest.param({1: 0.01}, 1, 1, id="one core"),
        pytest.param({1: 1.1}, 8, 8, id="a long pass takes all cores unasked"),
    ],
)
def test_the_number_is_where_more_no_longer_pays(seconds, most, number):
    assert fastest_number(lambda: spin(seconds), most) == number
    assert torch.get_num_threads() == number


def test_measuring_leaves_no_trace(bench):
    bench.write_model(
        "from torch import nn\n\n\ndef build_model():\n"
        "    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))\n"
    )
    bench.write_data()
    measured = bench.train("measured", resources={"threads": None})
    (resolved,) = measured.of(RunResolved)
    number = resolved.chosen["/resources/threads"]
    told = bench.train("told", resources={"threads": number})
    assert all(np.array_equal(measured.weights()[name], value) for name, value in told.weights().items())


def test_a_resumed_run_computes_with_the_threads_it_had(bench):
    bench.write_model("from torch import nn\n\n\ndef build_model():\n    return nn.Linear(6, 3)\n")
    bench.write_data()
    first = bench.train("first", resources={"threads": 3}, trainingConfig={"epochs": 1})
    resumed = bench.train(
        "second",
        resources={"threads": None},
        trainingConfig={"epochs": 2},
        checkpointConfig={"resumeFrom": str(first.run_folder)},
    )
    assert resumed.of(RunResolved)[0].chosen["/resources/threads"] == 3


def test_the_threads_that_a_request_names_go_before_those_of_a_checkpoint(bench):
    first = bench.train("first", trainingConfig={"epochs": 1}, resources={"threads": 1})
    resume = {"resumeFrom": str(first.run_folder)}
    named = bench.train("named", trainingConfig={"epochs": 2}, resources={"threads": 2}, checkpointConfig=resume)
    assert named.of(RunResolved)[0].resolved["resources"]["threads"] == 2
    assert "/resources/threads" not in named.of(RunResolved)[0].chosen
