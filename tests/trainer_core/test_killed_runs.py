"""Runs that are killed at random instants, a third of them inside a save, and resumed from what they left: the same weights
to the bit."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.tiers import rounds
from tests.trainer_core.nursery import Nursery, nursery
from trainer_core.checkpoints.checkpoint_folder import newest

KILLS = rounds(10, 200)
REQUEST = {
    "trainingConfig": {"epochs": 3, "gradientAccumulation": 2, "learningRate": 0.01},
    "modelConfig": {"args": {"dropout": 0.3}},
    "dataConfig": {"valPath": None},
}
SAVING = {"saveEverySteps": 1, "keepLast": 3}
SAVES = 9


@pytest.fixture
def runs() -> Iterator[Nursery]:
    """What forks the runs."""
    with nursery() as started:
        yield started


@pytest.mark.torture
def test_whatever_instant_kills_it_the_weights_are_those_of_an_undisturbed_run(bench, runs, chance, record_property):
    bench.train("warm", **REQUEST)
    runs.train(bench.assignment("first", **REQUEST), fork=False)
    began = time.monotonic()
    whole = bench.train("whole", checkpointConfig=SAVING, **REQUEST)
    seconds = time.monotonic() - began
    expected = whole.weights()
    killed = inside = number = 0
    while killed < KILLS or inside < KILLS / 3:
        number += 1
        left: Path | None = None
        for attempt in range(4):
            resume = {} if left is None else {"resumeFrom": str(left)}
            assignment = bench.assignment(f"{number}-{attempt}", checkpointConfig={**SAVING, **resume}, **REQUEST)
            if attempt == 3:
                # The last attempt has all the time it wants: the machine may be slower now than it was.
                how = {}
            elif chance.random() < 0.5:
                how = {"from": chance.randint(1, SAVES), "seconds": chance.uniform(1e-6, seconds / SAVES / 2)}
            else:
                how = {"from": "model", "seconds": chance.uniform(0.001, seconds)}
            status = runs.train(assignment, **how)
            folder = Path(assignment.run_folder)
            left = folder if folder.exists() and newest(folder) else left
            if status == 0:
                break
            assert status == -signal.SIGALRM
            killed += 1
            inside += any(folder.glob("*.tmp")) or any(folder.glob("*.old"))
        assert status == 0
        assert left is not None
        for name, tensor in type(whole)([], left).weights(newest(left).name).items():
            assert np.array_equal(tensor, expected[name]), (number, name)
    assert inside >= KILLS / 3
    record_property("killed", killed)
    record_property("inside a save", inside)
