"""Runs that are killed at random instants, saves included, and resumed from what they left: the same weights to the bit."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from schemas.assignment import Assignment
from trainer_core.checkpoints.checkpoint_folder import newest

SEED = 20261121
ROUNDS = 10
REQUEST = {
    "trainingConfig": {"epochs": 3, "gradientAccumulation": 2, "learningRate": 0.01},
    "modelConfig": {"args": {"dropout": 0.3}},
    "dataConfig": {"valPath": None},
}
SAVING = {"saveEverySteps": 1, "keepLast": 3}

# Has torch loaded, and forks a process for each run; the kernel ends that one some seconds after its training began.
NURSERY = """
import json, os, signal, sys
from schemas.assignment import Assignment
from trainer_core.channel import Channel
from trainer_core.engines.native import train
from trainer_core.stop import Stop

class Fuse(Channel):
    def emit(self, data):
        super().emit(data)
        if data.event_type == "model.loaded":
            signal.setitimer(signal.ITIMER_REAL, seconds)

for line in sys.stdin:
    document, seconds = json.loads(line)
    # The first run is not forked: it imports what torch imports when it is first used.
    child = 0 if seconds is None else os.fork()
    if child == 0:
        train(Assignment.model_validate(document), Fuse() if seconds else Channel(), Stop())
        if seconds is not None:
            os._exit(0)
    print(0 if seconds is None else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def train_with_fuse() -> Iterator[Callable[[Assignment, float | None], int]]:
    """Trains in a process that is killed so many seconds after its model was loaded (never for 0); its exit code. None: in
    the process that the others are forked from."""
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        stdin, stdout = nursery.stdin, nursery.stdout

        def train(assignment: Assignment, seconds: float | None) -> int:
            print(json.dumps([assignment.to_json(), seconds]), file=stdin, flush=True)
            return int(stdout.readline())

        yield train
        stdin.close()


def test_whatever_instant_kills_it_the_weights_are_those_of_an_undisturbed_run(bench, train_with_fuse):
    print(f"seed {SEED}")
    generator = random.Random(SEED)
    bench.train("warm", **REQUEST)
    train_with_fuse(bench.assignment("first", **REQUEST), None)
    began = time.monotonic()
    whole = bench.train("whole", checkpointConfig=SAVING, **REQUEST)
    seconds = time.monotonic() - began
    killed = 0
    for number in range(ROUNDS):
        left: Path | None = None
        status = None
        for attempt in range(4):
            resume = {} if left is None else {"resumeFrom": str(left)}
            assignment = bench.assignment(f"{number}-{attempt}", checkpointConfig={**SAVING, **resume}, **REQUEST)
            # The last attempt has all the time it wants: the machine may be slower now than it was.
            status = train_with_fuse(assignment, generator.uniform(0.001, seconds) if attempt < 3 else 0)
            folder = Path(assignment.run_folder)
            left = folder if folder.exists() and newest(folder) else left
            if status == 0:
                break
            assert status == -signal.SIGALRM
            killed += 1
        assert status == 0
        assert left is not None
        for name, tensor in type(whole)([], left).weights(newest(left).name).items():
            assert np.array_equal(tensor, whole.weights()[name]), (number, name)
    assert killed >= ROUNDS / 2
