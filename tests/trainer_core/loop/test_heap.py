"""Memory that a step has freed is there for the next one, and given back where it runs out."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's malloc is what is set")

# A pass takes 73 MiB at a time, and notes how many pages the process has had from the system before it (getrusage(2)).
WIDE = """
import resource
from pathlib import Path

import torch
from torch import nn


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.register_buffer("ones", torch.ones(1, 300_000))

    def forward(self, x):
        if self.training:
            with (Path(__file__).parent / "pages").open("a") as pages:
                print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt, file=pages)
        scores = self.layer(x)
        return scores + (scores[:, :1] * self.ones).mean(1, keepdim=True)
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
        bench.write_data(train=16 * 64)
        assignment = bench.assignment(dataConfig={"batchSize": 64}, trainingConfig={"epochs": 1}).model_dump_json(
            by_alias=True, exclude_unset=True
        )
        pages = bench.folder / "pages"
        pages.unlink(missing_ok=True)
        command = [sys.executable, "-c", TRAIN, assignment]
        subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, check=True)
        # It takes some steps until the holes in the heap have the sizes of what is asked for.
        return median(np.diff(np.loadtxt(pages)[8:]))

    return train


def test_a_step_takes_what_the_step_before_has_freed_unless_the_operator_has_his_own_settings(pages_of_a_step):
    assert pages_of_a_step() < 0.1 * pages_of_a_step(MALLOC_TRIM_THRESHOLD_="131072")


# In a process of its own, for what it does to its allocator is for good. Prints MiB above those at the beginning.
KEEP = """
import torch

from trainer_core.loop.footprint import memory_in_use
from trainer_core.loop.heap import KeepingHeap, give_back_freed_memory

MIB = 1 << 20


def resident():
    return memory_in_use(torch.device("cpu"))


def take_and_free(size):
    torch.ones(size * MIB, dtype=torch.uint8)


def say(word):
    print(word, (resident() - before) // MIB)


give_back_freed_memory()
before = resident()
KeepingHeap(bound=before, every_seconds=0)
take_and_free(200)
say("scarce from the beginning")
keeping = KeepingHeap(bound=2 * before + 512 * MIB, every_seconds=0)
take_and_free(200)
keeping.look()
say("less than half")
take_and_free(300)
keeping.look()
say("more than half")
take_and_free(400)
keeping.look()
say("and again")
KeepingHeap(bound=None)
cycle = [torch.ones(200 * MIB, dtype=torch.uint8)]
cycle.append(cycle)
del cycle
say("freed")
give_back_freed_memory()
say("asked for")
"""


def test_memory_is_kept_until_less_than_half_is_left_and_given_back_on_demand():
    done = subprocess.run([sys.executable, "-c", KEEP], cwd=ROOT, check=True, capture_output=True, text=True)
    found = {word: int(size) for word, size in (line.rsplit(" ", 1) for line in done.stdout.splitlines())}
    assert {word for word, size in found.items() if size > 190} == {"less than half", "freed"}
    assert max(size for size in found.values() if size <= 190) < 50
