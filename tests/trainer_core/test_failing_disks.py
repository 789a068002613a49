"""The n-th write, fsync or rename of a training's folder goes wrong: the last good checkpoint loads, and the failure has the
right code."""

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.assignment import OUTCOME_FILE, Outcome
from tests.native.preload import preloaded
from tests.tiers import LARGE
from tests.trainer_core.nursery import Nursery, nursery
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder, complete_checkpoints
from trainer_core.checkpoints.resumption import load_newest
from trainer_core.checkpoints.snapshot import load_snapshot

# As ``tests/native/faults.c`` numbers them.
KINDS = {"killed": 1, "disk full": 2, "input/output error": 3, "short write": 4}
REQUEST = {
    "trainingConfig": {"epochs": 2, "learningRate": 0.01},
    "dataConfig": {"valPath": None},
    "checkpointConfig": {"keepLast": 2},
}


@pytest.fixture(scope="module")
def runs() -> Iterator[Nursery]:
    """What forks the runs; their disk can be made to fail."""
    with nursery(preloaded("faults")) as started:
        yield started


def train(runs: Nursery, bench, name: str, number: int, kind: int) -> tuple[int, Path, Path]:
    """A run whose ``number``-th operation goes wrong; its exit code, its folder, and that of its attempt."""
    assignment = bench.assignment(name, **REQUEST)
    fault = {"path": assignment.run_folder, "number": number, "kind": kind}
    return runs.train(assignment, fault=fault), Path(assignment.run_folder), Path(assignment.attempt_folder)


@pytest.mark.torture
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_operation_fails_the_last_good_checkpoint_loads(
    bench, runs: Nursery, chance: random.Random, record_property: Callable[[str, object], None], kind: str
):
    runs.train(bench.assignment("first", **REQUEST), fork=False)
    status, folder, attempt = train(runs, bench, "whole", 0, 0)
    assert status == 0
    operations = int((attempt / "operations").read_text())
    whole = {path.name: load_snapshot(path).model for path, _ in complete_checkpoints(folder)}
    assert len(whole) == 2
    tried = range(1, operations + 1) if LARGE else range(chance.randint(1, 5), operations + 1, 5)
    for number in tried:
        status, folder, attempt = train(runs, bench, f"{kind}-{number}", number, KINDS[kind])
        check_outcome(kind, status, attempt)
        # What the next attempt does first.
        CheckpointFolder(folder, 2)
        if complete_checkpoints(folder):
            read, skipped = load_newest(folder, load_snapshot)
            assert skipped == []
            assert read.path is not None
            assert all((tensor == read.model[name]).all() for name, tensor in whole[read.path.name].items())
        else:
            assert kind != "short write"
            assert number <= operations / 2, "the first checkpoint is gone"
    record_property("operations of a run", operations)
    record_property("failed", len(tried))


def check_outcome(kind: str, status: int, attempt: Path) -> None:
    """The run ended as a run with such a disk should."""
    if kind == "killed":
        assert status == -signal.SIGKILL
        return
    assert status == 0
    outcome = Outcome.model_validate_json((attempt / OUTCOME_FILE).read_bytes())
    if kind == "short write":
        assert outcome.state == "succeeded"
        return
    assert outcome.error is not None
    assert outcome.error.code == ("disk_full" if kind == "disk full" else "internal")
