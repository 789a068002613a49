"""The number of CPU threads: measured, told, kept over a resume, and without a trace in the training."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from schemas.events import RunResolved
from trainer_core.channel import Channel
from trainer_core.failure import Failure
from trainer_core.loop.material import Surroundings, load, settle_threads
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.threads import fastest_number, measure
from trainer_core.stop import Stop


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
        pytest.param({1: 0.04, 2: 0.037}, 2, 1, id="a little faster is not worth it"),
        pytest.param({1: 0.04, 2: 0.028}, 2, 2, id="a third is, though not twice"),
        pytest.param({1: 0.09, 2: 0.04, 4: 0.05}, 8, 2, id="stops where it turns"),
        pytest.param({1: 0.08, 2: 0.04, 3: 0.01}, 3, 3, id="tries the last core"),
        pytest.param({1: 0.01}, 1, 1, id="one core"),
        pytest.param({1: 1.1}, 8, 8, id="a long pass takes all cores unasked"),
    ],
)
def test_the_number_is_where_more_no_longer_pays(seconds, most, number):
    assert fastest_number(lambda: spin(seconds), most) == number
    assert torch.get_num_threads() == number


@pytest.mark.alone
def test_the_first_pass_with_new_threads_is_only_for_them_to_start():
    started: set[int] = set()

    def one_pass() -> None:
        number = torch.get_num_threads()
        spin({number: 0.02 / number + 0.1 * (number not in started)})
        started.add(number)

    assert fastest_number(one_pass, 2) == 2


@pytest.fixture
def parts(bench):
    """What a run measures with: a model that tells ``seen`` the samples of each pass, training samples, and the pass."""
    torch.set_num_threads(2)
    around = Surroundings(bench.assignment(), torch.device("cpu"), Ranks(), Channel(), Stop())
    material = load(around)
    return material.model, material.data.train, material.forward


def watched(model: nn.Module, see: Callable[[int], object]) -> None:
    """Have ``see`` told of the samples of each pass."""

    def hook(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        see(len(inputs[0]))

    model.register_forward_pre_hook(hook)


@pytest.mark.alone
def test_passes_that_do_not_fit_are_halved_and_measured_with_all_threads(parts):
    """The first try runs out of memory with one thread."""
    model, samples, forward = parts
    seen, learnt = [], []

    def limited(size: int) -> None:
        seen.append(size)
        if size > 5:
            torch.empty(1 << 60, dtype=torch.uint8)
        spin({1: 0.04, 2: 0.01})

    watched(model, limited)
    next(model.parameters()).register_hook(learnt.append)
    assert measure(model, samples, forward, 16) == 2
    assert seen == [16, 8] + [4] * 6
    assert len(learnt) == 6


def test_where_nothing_fits_the_number_is_left_to_torch(parts):
    model, samples, forward = parts
    seen = []
    watched(model, lambda size: seen.append(size) or torch.empty(1 << 60, dtype=torch.uint8))
    assert measure(model, samples, forward, 4) == 2 == torch.get_num_threads()
    assert seen == [4, 2, 1]


def test_what_fails_for_another_reason_is_told(parts):
    model, samples, forward = parts
    watched(model, lambda size: [][size])
    with pytest.raises(Failure, match="IndexError while running the model"):
        measure(model, samples, forward, 4)


def test_no_more_samples_are_taken_than_there_are_and_no_generator_remembers(parts):
    model, samples, forward = parts
    seen, before = set(), torch.get_rng_state()
    watched(model, lambda size: seen.add(size) or torch.rand(1))
    measure(model, samples, forward, 1000)
    assert seen == {70}
    assert torch.equal(torch.get_rng_state(), before)


class Second(Ranks):
    """A rank that hears what the first one has measured."""

    def gather(self, thing: Any) -> list[Any]:
        return [3, thing]


def test_all_ranks_take_the_number_of_the_first(bench):
    around = Surroundings(
        bench.assignment(resources={"threads": None}), torch.device("cpu"), Second(), Channel(), Stop()
    )
    assert settle_threads(around, load(around), 4) == 3 == torch.get_num_threads()


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
