"""The order of samples, what comes out of the loader, and the cut into micro-batches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from trainer_core.data.datasets import DatasetSamples
from trainer_core.data.samples import ArraySamples, Part
from trainer_core.failure import Failure
from trainer_core.loop.batches import Batches, JoinedBatch, Order
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.sources import Resident, Streamed, build_source
from trainer_core.loop.trees import call, map_tensors, shapes

CPU = torch.device("cpu")


class Share(Ranks):
    """Rank ``index`` of ``world``, for the arithmetic of shares alone."""

    def __init__(self, index: int, world: int) -> None:
        self.index, self.world = index, world

    def share(self, indices):
        return np.array_split(indices, self.world)[self.index]


def samples(count: int = 23) -> ArraySamples:
    return ArraySamples(np.arange(count * 2, dtype=np.float32).reshape(count, 2), np.arange(count))


def test_the_order_is_a_function_of_seed_and_epoch():
    order = Order(50, 8, seed=3, shuffle=True)
    assert np.array_equal(order.epoch(4), Order(50, 16, seed=3, shuffle=True).epoch(4)), "not of the batch size"
    assert sorted(order.epoch(4)) == list(range(50))
    assert not np.array_equal(order.epoch(4), order.epoch(5))
    assert not np.array_equal(order.epoch(4), Order(50, 8, seed=4, shuffle=True).epoch(4))
    assert np.array_equal(Order(50, 8, seed=3, shuffle=False).epoch(9), np.arange(50))


def test_batches_cover_each_sample_once_and_may_start_in_the_middle():
    order = Order(23, 8, seed=0, shuffle=True)
    batches = order.batches(1, 0, 3)
    assert [len(batch) for batch in batches] == [8, 8, 7]
    assert sorted(np.concatenate(batches)) == list(range(23))
    assert np.array_equal(order.batches(1, 2, 3)[0], batches[2])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_what_memory_gives(workers):
    parts = Order(23, 8, seed=0, shuffle=True).batches(0, 0, 3)
    whole = samples()
    streamed = Streamed(Part(whole, np.arange(23)), workers, seed=0, pin=False)
    try:
        for epoch in range(2):  # the second epoch uses the same processes
            resident = Resident(whole.arrays, CPU).fetch(parts, epoch)
            for (x, y), (inputs, targets) in zip(resident, streamed.fetch(parts, epoch), strict=True):
                assert torch.equal(x, inputs)
                assert torch.equal(y, targets)
    finally:
        streamed.close()


@pytest.mark.parametrize(("size", "width"), [(16, 4), (64, 20), (8, 2), (7, 3), (4096, 16)])
def test_parts_picked_together_are_those_picked_one_by_one(size: int, width: int) -> None:
    x = np.random.default_rng(0).normal(size=(10_000, width)).astype(np.float32)
    y = np.arange(len(x))
    parts = Order(len(x), size, seed=0, shuffle=True).batches(0, 3, 10_000 // size + 1)
    count = 0
    for part, (inputs, targets) in zip(parts, Resident((x, y), CPU).fetch(parts, 0), strict=True):
        assert np.array_equal(inputs.numpy(), x[part])
        assert np.array_equal(targets.numpy(), y[part])
        # As memory of its own would begin: a sum may be rounded otherwise where it does not, and a resume picks other blocks.
        assert inputs.data_ptr() % 64 == targets.data_ptr() % 64 == 0
        count += 1
    assert count == len(parts)


def test_a_model_may_write_into_its_batch() -> None:
    x, y = np.ones((64, 16), np.float32), np.zeros(64, np.int64)
    weight = torch.full((16,), 2.0, requires_grad=True)
    batches = list(Resident((x, y), CPU).fetch([np.arange(16), np.arange(16, 32)], 0))
    batches[0][0].mul_(weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [16.0] * 16
    assert batches[0][0].detach().eq(2).all()
    assert batches[1][0].eq(1).all()
    assert not batches[1][0].requires_grad


def test_a_loader_draws_nothing_from_the_generator_of_dropout():
    before = torch.get_rng_state()
    streamed = Streamed(Part(samples(), np.arange(23)), 0, seed=0, pin=False)
    list(streamed.fetch([np.arange(4)], 0))
    assert torch.equal(torch.get_rng_state(), before)


class Drawing:
    """A data set whose items draw."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index):
        return torch.rand(2), index


def test_a_sample_draws_anew_in_each_epoch():
    samples = DatasetSamples(Drawing(), torch.utils.data.default_collate, Path("model.py"), 8)
    streamed = Streamed(samples, 0, seed=0, pin=False)
    first, again, next_one = (next(iter(streamed.fetch([np.arange(4)], epoch)))[0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, next_one)


class Broken:
    """Samples that cannot be read."""

    arrays = None

    def __len__(self) -> int:
        return 4

    def take(self, indices):
        raise Failure("data_invalid", "row 3 is unreadable")


def test_a_failure_in_a_loaders_process_comes_back_as_itself():
    source = build_source(Broken(), CPU, workers=1, seed=0)
    try:
        with pytest.raises(Failure, match="row 3 is unreadable") as caught:
            list(source.fetch([np.arange(2)], 0))
    finally:
        source.close()
    assert caught.value.error.code == "data_invalid"


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_an_optimizer_batch_without_doubles(world):
    order = Order(23, 8, seed=0, shuffle=True)
    seen = []
    for index in range(world):
        batches = Batches(Resident(samples().arrays, CPU), order, Share(index, world), batch_size=4)
        for batch in batches.of_epoch(0, 0, 3):
            micros = list(batch.micro_batches(batches.micro_size, CPU))
            assert len(micros) <= 2, "never more micro-batches than gradientAccumulation"
            assert [micro.last for micro in micros] == [False] * (len(micros) - 1) + [True]
            assert all(micro.counted for micro in micros)
            seen += [int(target) for micro in micros for target in micro.targets]
    assert sorted(seen) == list(range(23))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_the_sizes_of_the_passes_over_a_full_batch_are_known_before(world, size):
    """Of each rank, also of one without a share, and of a batch of all samples."""
    for count, batch in ((23, 8), (23, 11), (23, 4), (4, 8)):
        whole = samples(count)
        for index in range(world):
            order = Order(count, batch, seed=0, shuffle=True)
            batches = Batches(build_source(whole, CPU, 0, seed=0), order, Share(index, world), batch, size)
            (full,) = batches.of_epoch(0, 0, 1)
            seen = {len(micro.targets) for micro in full.micro_batches(size, CPU)}
            assert batches.pass_sizes(size) == seen, (count, batch, index)


def test_a_rank_without_a_share_takes_part_without_weight():
    order = Order(9, 8, seed=0, shuffle=True)
    batches = Batches(Resident(samples(9).arrays, CPU), order, Share(1, 2), batch_size=8)
    last = list(batches.of_epoch(0, 0, 2))[-1]
    assert (last.samples, last.counted) == (1, False)
    micros = list(last.micro_batches(batches.micro_size, CPU))
    assert len(micros) == 1
    assert not micros[0].counted
    assert len(micros[0].targets) == 1, "a pass of nothing is not defined for every module"


def test_arrays_that_may_not_be_written_are_copied():
    whole = samples()
    whole.inputs.flags.writeable = False
    (inputs, _), *_ = Resident(whole.arrays, CPU).fetch([np.arange(2)], 0)
    inputs += 1
    assert whole.inputs[0, 0] == 0


def test_inputs_of_several_tensors():
    tree = {"ids": torch.zeros(3, 4), "extra": (torch.ones(3), "label")}
    halves = map_tensors(lambda tensor: tensor[:2], tree)
    assert shapes(halves) == "{ids: [2, 4], extra: ([2], str)}"
    add = torch.nn.Bilinear(1, 1, 1, bias=False)
    one = torch.ones(1, 1)
    assert torch.equal(call(add, (one, one)), call(add, {"input1": one, "input2": one}))


def joined(items):
    """Numbers of unequal length in a row, and no telling of what belongs to which sample."""
    return torch.cat([item[0] for item in items]), torch.cat([item[0] for item in items])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_that_join_fewer_samples_at_once_share_a_batch_without_doubles(world, size):
    """And take as many passes; the first batch is joined again, those after it come so."""
    rows = [(torch.full((1 + index % 3,), index),) for index in range(23)]
    samples = DatasetSamples(rows, joined, Path("model.py"), 23)
    order, seen, passes = Order(23, 8, seed=0, shuffle=True), [], []
    for index in range(world):
        batches = Batches(Streamed(samples, 0, seed=0, pin=False), order, Share(index, world), batch_size=8)
        for batch in batches.of_epoch(0, 0, 3):
            micros = list(batch.micro_batches(size, CPU))
            assert [micro.last for micro in micros] == [False] * (len(micros) - 1) + [True]
            assert all(len(set(micro.targets.tolist())) <= size for micro in micros)
            seen += [number for micro in micros if micro.counted for number in set(micro.targets.tolist())]
            passes.append(len(micros))
        assert isinstance(batch, JoinedBatch) == (size < -(-8 // world))
    assert sorted(seen) == list(range(23))
    assert passes == passes[:3] * world
