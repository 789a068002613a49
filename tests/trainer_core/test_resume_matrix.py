"""Killed at random instants and resumed from what was left, a run ends with the bits of one that was left alone: in every
combination of number format, averaging, accumulation, augmentation and number of ranks."""

import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.tiers import LARGE, rounds
from tests.trainer_core.augmented import AUGMENTED
from tests.trainer_core.conftest import MODEL, Bench
from tests.trainer_core.nursery import Nursery, nursery
from trainer_core.checkpoints.checkpoint_folder import newest

KILLS = rounds(1, 8)

# Number format, exponential mean, passes to a step, augmentation, ranks.
ALL = list(itertools.product(["fp32", "bf16"], [False, True], [1, 3], [False, True], [1, 2]))
# Every pair of values of the first four, and two ranks.
FEW = [
    ("fp32", False, 1, False, 1),
    ("fp32", True, 3, True, 1),
    ("bf16", True, 1, True, 1),
    ("bf16", False, 3, True, 1),
    ("bf16", True, 3, False, 1),
    ("bf16", True, 3, True, 2),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """What forks the runs; it has loaded what torch loads when it is first used."""
    warm = Bench(tmp_path_factory.mktemp("warm"))
    warm.write_model(MODEL + AUGMENTED)
    warm.write_data()
    with nursery() as started:
        started.train(warm.assignment("warm", trainingConfig={"epochs": 1, "precision": "bf16"}), fork=False)
        yield started


def request(precision: str, averaged: bool, passes: int, augmented: bool) -> dict[str, Any]:
    averaging = {"weightAveraging": {"method": "ema", "decay": 0.9}} if averaged else {}
    training = {"epochs": 2, "learningRate": 0.01, "precision": precision, "gradientAccumulation": passes}
    return {
        "trainingConfig": {**training, **averaging},
        "modelConfig": {"args": {"dropout": 0.3}},
        "dataConfig": {"batchSize": 8, **({"numWorkers": 1} if augmented else {})},
    }


@pytest.mark.torture
@pytest.mark.parametrize(("precision", "averaged", "passes", "augmented", "ranks"), ALL if LARGE else FEW)
def test_a_killed_run_ends_with_the_bits_of_one_that_was_left_alone(
    bench, runs, chance, record_property, precision, averaged, passes, augmented, ranks
):
    if augmented:
        bench.write_model((bench.folder / "model.py").read_text() + AUGMENTED)
    devices = ("cpu",) * ranks
    changes = request(precision, averaged, passes, augmented)
    saving = {"saveEverySteps": rounds(3, 1), "keepLast": 3}
    whole = bench.assignment("whole", devices, checkpointConfig=saving, **changes)
    began = time.monotonic()
    assert runs.train(whole) == 0
    seconds = time.monotonic() - began
    expected = load_file(newest(Path(whole.run_folder)) / "model.safetensors")
    killed = number = 0
    while killed < KILLS:
        number += 1
        left: Path | None = None
        status = -1
        for attempt in range(4):
            resume = {} if left is None else {"resumeFrom": str(left)}
            name = f"{number}-{attempt}"
            assignment = bench.assignment(name, devices, checkpointConfig={**saving, **resume}, **changes)
            # The last attempt has all the time it wants.
            how = {"from": "start", "seconds": chance.uniform(0.2, 1) * seconds} if attempt < 3 else {}
            status = runs.train(assignment, **how)
            folder = Path(assignment.run_folder)
            left = folder if folder.exists() and newest(folder) else left
            if status == 0:
                break
            assert status == -signal.SIGALRM
            killed += 1
        assert status == 0
        assert left is not None
        found = load_file(newest(left) / "model.safetensors")
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            assert np.array_equal(tensor, expected[name]), (number, name)
    record_property("killed", killed)
