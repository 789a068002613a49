"""All ranks take as many passes of a batch, whose samples each count once."""

import math

import pytest
import torch

from trainer_core.loop.batches import MicroBatch, OptimizerBatch


def cut(share: int, largest: int, size: int) -> list[MicroBatch]:
    samples = torch.arange(share)
    batch = OptimizerBatch(2 * largest, samples, samples, counted=True, largest_share=largest)
    return list(batch.micro_batches(size, torch.device("cpu")))


@pytest.mark.parametrize("size", range(1, 8))
def test_as_many_passes_as_the_rank_with_the_most_samples(size: int):
    for largest in range(2, 23):
        for share in (largest, largest - 1):
            micros = cut(share, largest, size)
            assert len(micros) == math.ceil(largest / size)
            counted = [sample for micro in micros if micro.counted for sample in micro.targets.tolist()]
            assert counted == list(range(share))
            assert [micro.last for micro in micros] == [False] * (len(micros) - 1) + [True]
            assert all(0 < len(micro.targets) <= size for micro in micros)
            # Only where a pass takes one sample is there none left for some.
            assert size == 1 or all(micro.counted for micro in micros)
