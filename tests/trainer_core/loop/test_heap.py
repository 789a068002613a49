"""Memory that a step has freed is there for the next one, and given back where it runs out."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer_core.loop import heap
from trainer_core.loop.footprint import memory_in_use
from trainer_core.loop.heap import KeepingHeap, give_back_freed_memory

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's malloc is what is set")

# A pass takes several times 4 MiB, and notes how many pages the process has had from the system before it (getrusage(2)).
WIDE = """
import resource
from pathlib import Path

from torch import nn


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16_384), nn.Tanh(), nn.Linear(16_384, 3))

    def forward(self, x):
        if self.training:
            with (Path(__file__).parent / "pages").open("a") as pages:
                print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt, file=pages)
        return self.layers(x)
"""
TRAIN = """
import sys

from schemas.assignment import Assignment
from trainer_core.channel import Channel
from trainer_core.engines.native import train
from trainer_core.stop import Stop

train(Assignment.model_validate_json(sys.argv[1]), Channel(), Stop())
"""


@pytest.fixture
def pages_of_a_step(bench):
    """Trains a wide model in a process of its own, with the environment given: the pages that a step takes from the system."""

    def train(**environment: str) -> float:
        bench.write_model(WIDE)
        bench.write_data(train=100 * 64)
        assignment = bench.assignment(dataConfig={"batchSize": 64}, trainingConfig={"epochs": 1}).model_dump_json(
            by_alias=True, exclude_unset=True
        )
        pages = bench.folder / "pages"
        pages.unlink(missing_ok=True)
        command = [sys.executable, "-c", TRAIN, assignment]
        subprocess.run(command, env={**os.environ, **environment}, cwd=Path(__file__).parents[3], check=True)
        # It takes some steps until the holes in the heap have the sizes of what is asked for.
        return float(np.diff(np.loadtxt(pages)[50:]).mean())

    return train


def test_a_step_takes_what_the_step_before_has_freed_unless_the_operator_has_his_own_settings(pages_of_a_step):
    assert pages_of_a_step() < 0.2 * pages_of_a_step(MALLOC_TRIM_THRESHOLD_="131072")


def take_and_free(size: int) -> None:
    torch.ones(size, dtype=torch.uint8)


@pytest.fixture
def usual():
    """The allocator of this process is afterwards as glibc has it."""
    yield
    heap._change(heap._USUAL_LARGEST, heap._USUAL_REST)


def resident() -> int:
    return memory_in_use(torch.device("cpu"))


def test_memory_is_kept_until_less_than_half_is_left_and_then_given_back(usual):
    give_back_freed_memory()
    before = resident()
    keeping = KeepingHeap(bound=2 * before + (512 << 20), every_seconds=0)
    take_and_free(200 << 20)
    keeping.look()
    assert resident() > before + (190 << 20)
    take_and_free(300 << 20)
    keeping.look()
    assert resident() < before + (100 << 20)
    take_and_free(400 << 20)
    keeping.look()
    assert resident() < before + (100 << 20)


def test_none_is_kept_where_there_is_less_than_that_from_the_beginning(usual):
    give_back_freed_memory()
    before = resident()
    KeepingHeap(bound=before, every_seconds=0)
    take_and_free(200 << 20)
    assert resident() < before + (100 << 20)


def test_what_is_freed_is_given_back_on_demand(usual):
    KeepingHeap(bound=None)
    cycle = [torch.ones(200 << 20, dtype=torch.uint8)]
    cycle.append(cycle)
    taken = resident()
    del cycle
    give_back_freed_memory()
    assert resident() < taken - (190 << 20)
