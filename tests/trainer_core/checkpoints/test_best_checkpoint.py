"""A checkpoint says which one is the best of its run."""

import shutil
from pathlib import Path

import pytest

from trainer_core.checkpoints.best_checkpoint import ITSELF, BestCheckpoint
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder
from trainer_core.checkpoints.former_best import find_best
from trainer_core.checkpoints.snapshot import Snapshot


@pytest.mark.parametrize(
    ("best", "found"),
    [(ITSELF, "/run/two"), (BestCheckpoint("/run/one"), "/run/one"), (BestCheckpoint(), None)],
    ids=["itself", "another", "none"],
)
def test_the_best_is_found_from_the_checkpoint_that_keeps_it(best: BestCheckpoint, found: str | None):
    kept = BestCheckpoint.of({"bestCheckpoint": best.state()})
    assert kept == best
    assert kept.found_at("/run/two") == found


def test_one_that_is_the_best_no_more_is_not_found(tmp_path: Path):
    """Its place may have been taken by an epoch that was done again."""
    folder = CheckpointFolder(tmp_path / "run", 2)
    empty = Snapshot({}, {}, {}, []).packed()
    best = folder.save(empty, kind="epoch", epoch=1, step=1, is_best=True).path
    other = folder.save(empty, kind="epoch", epoch=2, step=2, is_best=False).path
    assert find_best(best, None) == find_best(best, other) == best
    assert find_best(other, None) is None
    moved = CheckpointFolder(tmp_path / "moved", 1).save(empty, kind="epoch", epoch=1, step=1, is_best=True).path
    assert find_best(best, moved) == best
    shutil.rmtree(best)
    assert find_best(best, moved) == moved
    assert find_best(best, other) is None
