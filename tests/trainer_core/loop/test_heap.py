"""Memory that a step has freed is there for the next one, and given back where it runs out."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's malloc is what is set")

# A pass takes 34 MiB at a time, and notes how many pages the process has had from the system before it (getrusage(2)).
WIDE = """
import resource
from pathlib import Path

import torch
from torch import nn


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.register_buffer("ones", torch.ones(1, 140_000))

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
        bench.write_data(train=40 * 64)
        assignment = bench.assignment(dataConfig={"batchSize": 64}, trainingConfig={"epochs": 1}).model_dump_json(
            by_alias=True, exclude_unset=True
        )
        pages = bench.folder / "pages"
        pages.unlink(missing_ok=True)
        command = [sys.executable, "-c", TRAIN, assignment]
        subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, check=True)
        return float(np.diff(np.loadtxt(pages)).mean())

    return train


def test_a_step_takes_what_the_step_before_has_freed_unless_the_operator_has_his_own_settings(pages_of_a_step):
    assert pages_of_a_step() < 0.7 * pages_of_a_step(MALLOC_TRIM_THRESHOLD_="131072")


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

keeping = KeepingHeap(bound=2 * before + 600 * MIB, every_seconds=0)
take_and_free(150)
keeping.look()
say("less than half")
take_and_free(320)
keeping.look()
say("more than half")

keeping = KeepingHeap(bound=None, every_seconds=0)
take_and_free(200)
keeping.look()
say("what a step needs")
take_and_free(800)
keeping.look()
say("much more than that")
take_and_free(800)
keeping.look()
say("what a larger step needs")

give_back_freed_memory()
cycle = [torch.ones(200 * MIB, dtype=torch.uint8)]
cycle.append(cycle)
del cycle
say("freed")
give_back_freed_memory()
say("asked for")
"""


def test_memory_is_kept_as_far_as_steps_need_it_while_there_is_enough_and_given_back_on_demand():
    done = subprocess.run([sys.executable, "-c", KEEP], cwd=ROOT, check=True, capture_output=True, text=True)
    found = {word: int(size) for word, size in (line.rsplit(" ", 1) for line in done.stdout.splitlines())}
    kept = {word for word, size in found.items() if size > 100}
    assert kept == {"less than half", "what a step needs", "what a larger step needs", "freed"}
    assert max(size for word, size in found.items() if word not in kept) < 50
