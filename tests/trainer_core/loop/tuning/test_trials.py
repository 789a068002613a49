"""What is done, and what is measured, for each size that the batch-size finder tries."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from schemas.events import RunTuned
from schemas.tuning import BatchSizeFinder
from trainer_core.channel import Channel
from trainer_core.data.samples import Indices
from trainer_core.failure import Failure
from trainer_core.loop.assemble import assemble
from trainer_core.loop.material import Surroundings, load, size_up
from trainer_core.loop.ranks import Ranks, Totals
from trainer_core.loop.recovery.restart import PassLimits
from trainer_core.loop.trainer import Trainer
from trainer_core.loop.tuning import room
from trainer_core.loop.tuning.batch_size import Trials, find_micro_batch
from trainer_core.loop.tuning.tuning import tune_size
from trainer_core.stop import Stop


@pytest.fixture
def trainer(bench) -> Trainer:
    """A loop before its first step, whose optimizer batches have 60 samples."""
    assignment = bench.assignment(dataConfig={"batchSize": 15}, trainingConfig={"gradientAccumulation": 4})
    around = Surroundings(assignment, torch.device("cpu"), Ranks(), Channel(), Stop())
    material = load(around)
    return assemble(around, material, size_up(around, material))


def trials(trainer: Trainer, times: int = 3) -> Trials:
    """Trials on its first optimizer batch."""
    return Trials(trainer, next(trainer.batches.of_epoch(0, 0, 1)), times)


def watched(trainer: Trainer, see: Callable[[int], object]) -> None:
    """Have ``see`` told of the samples of each pass."""
    trainer.model.register_forward_pre_hook(lambda _module, inputs: see(len(inputs[0])))


def test_a_size_is_tried_with_two_passes_at_a_time_and_a_step(trainer):
    """The memory of a second pass has the gradients of the first beside it, and after a step the optimizer's state."""
    seen: list[int] = []
    watched(trainer, seen.append)
    assert trials(trainer).fits(8)
    assert seen == [8] * 6
    assert len(trainer.optimizer.state) == len(list(trainer.model.parameters()))
    assert not any(parameter.grad.any() for parameter in trainer.model.parameters() if parameter.grad is not None)


def test_what_fails_for_another_reason_than_memory_is_told(trainer):
    def refuse(_size: int) -> None:
        raise RuntimeError("this model is broken")

    watched(trainer, refuse)
    with pytest.raises(Failure) as failed:
        trials(trainer).fits(8)
    assert "this model is broken" in failed.value.error.untrusted


def spin(seconds: float) -> None:
    """Keep this core busy."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


@pytest.mark.alone
def test_samples_a_second_are_those_of_the_samples_that_went_through(trainer):
    """Each takes as long at whatever size: also where the second of two passes has fewer of them."""
    tried = trials(trainer)
    watched(trainer, lambda size: spin(1e-3 * size))
    for size in (15, 40, 60):
        assert tried.fits(size)
        assert 700 < tried.speed(size) < 1000


@pytest.mark.alone
def test_a_pass_that_is_slow_for_once_is_not_what_is_measured(trainer):
    numbers = iter(range(100))
    watched(trainer, lambda _size: spin(0.2 if next(numbers) == 1 else 0))
    tried = trials(trainer)
    assert tried.fits(60)
    assert tried.speed(60) > 60 / 0.1


def test_on_a_host_no_size_is_tried_that_is_expected_to_be_too_much(trainer, monkeypatch):
    """100 MB are there, of which 80 may be taken; 20 are in use, and each sample of a pass takes one more."""
    seen = [0]
    monkeypatch.setattr(room, "memory_in_use", lambda _device: 20e6)
    monkeypatch.setattr(room, "memory_limit", lambda _device: 85e6)
    monkeypatch.setattr(room, "peak_of_process", lambda: 20e6 + 1e6 * max(seen))
    watched(trainer, seen.append)
    tuned = find_micro_batch(trainer, BatchSizeFinder(), lambda size: size)
    assert [(each["microBatch"], each["fits"], each.get("expected")) for each in tuned.measured] == [
        (15, True, None),
        (30, True, None),
        (60, False, True),
        (45, True, None),
        (52, False, True),
        (48, True, None),
        (50, False, True),
    ]
    assert max(seen) == 48
    assert (tuned.found, tuned.used) == (30, 30)
    assert tuned.reason.startswith("The largest size that fits is 48, to a sixteenth, at ")


def test_a_stop_ends_the_search_and_nothing_is_found(trainer):
    watched(trainer, lambda _size: setattr(trainer.stop, "requested", True))
    tuned = find_micro_batch(trainer, BatchSizeFinder(), lambda size: size)
    assert [each["microBatch"] for each in tuned.measured] == [15]
    assert (tuned.found, tuned.used) == (None, 15)


@pytest.mark.parametrize(
    ("cut", "size", "words"),
    [
        pytest.param(7, 7, "9 passes of at most 7 (", id="smaller"),
        pytest.param(None, 60, "1 passes of at most 60 (", id="none is small enough"),
    ],
)
def test_the_size_is_one_that_leaves_no_pass_too_small(trainer, cut: int | None, size: int, words: str):
    tuned = find_micro_batch(trainer, BatchSizeFinder(), lambda _size: cut)
    assert (tuned.found, tuned.used) == (size, size)
    assert words in tuned.reason


@pytest.mark.alone
def test_by_throughput_a_whole_share_is_taken_where_it_is_worth_it(trainer):
    """Each pass takes a fiftieth of a second, however many samples it has: one of 60 is faster than two of 32 and 28."""
    watched(trainer, lambda _size: spin(0.02))
    tuned = find_micro_batch(trainer, BatchSizeFinder(by="throughput"), lambda size: size)
    assert [each["microBatch"] for each in tuned.measured] == [1, 2, 4, 8, 16, 32, 60]
    assert tuned.found == 60


def test_ranks_that_start_again_with_a_size_that_fits_look_for_none(bench):
    assignment = bench.assignment(trainingConfig={"batchSizeFinder": True})
    around = Surroundings(assignment, torch.device("cpu"), Ranks(), Channel(), Stop(), PassLimits(micro_batch=8))
    material = load(around)
    assert assemble(around, material, size_up(around, material)).memory.size == 8
    assert not [data for data in around.channel.said if isinstance(data, RunTuned)]


class Another(Ranks):
    """One of two ranks: the other one took ``seconds`` for a sample, or had no memory. Nobody waits for this one."""

    world = 2

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self.tried = False

    def gather(self, thing: Any) -> list[Any]:
        return [thing, self._seconds]

    def any(self, flag: bool) -> bool:
        return flag or (self._seconds is None and self.tried)

    def total(self, totals: Totals, stop: bool) -> tuple[Totals, bool]:
        raise AssertionError("the other rank does not take part")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        pytest.param(10.0, {"fits": True, "samplesPerSecond": 0.2}, id="slower"),
        pytest.param(None, {"fits": False}, id="without memory"),
    ],
)
def test_each_rank_tries_by_itself_and_a_size_is_what_it_is_on_the_worst(trainer, seconds: float | None, told: dict):
    ranks = Another(seconds)
    watched(trainer, lambda _size: setattr(ranks, "tried", True))
    trainer.ranks, trainer.network = ranks, nn.Module()
    tried = trials(trainer)
    assert tried.fits(8) == told["fits"]
    assert tried.measured == [{"microBatch": 8, **told}]


class Half(Ranks):
    """One of two ranks, which are alike."""

    world = devices = local_world = 2

    def share(self, indices: Indices) -> Indices:
        return indices[: -(-len(indices) // 2)]


def test_no_pass_of_a_rank_is_too_small_for_batch_normalisation(bench):
    """A rank has 16 samples of a batch and 7 of the last: cut by 6, as those of all would be, it would leave one."""
    bench.write_model(
        "from torch import nn\n\n\ndef build_model():\n    return nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))\n"
    )
    bench.write_data(train=78)
    assignment = bench.assignment(dataConfig={"batchSize": 32})
    around = Surroundings(assignment, torch.device("cpu"), Half(), Channel(), Stop())
    material = load(around)
    trainer = assemble(around, material, size_up(around, material))

    def limited(size: int) -> None:
        if size > 6:
            torch.empty(1 << 60, dtype=torch.uint8)

    watched(trainer, limited)
    searching = bench.assignment(dataConfig={"batchSize": 32}, trainingConfig={"batchSizeFinder": True})
    (tuned,) = tune_size(replace(around, assignment=searching), trainer)
    assert tuned.used == trainer.memory.size == 4
