"""A checkpoint says which one is the best of its run."""

import pytest

from trainer_core.checkpoints.best_checkpoint import ITSELF, BestCheckpoint


@pytest.mark.parametrize(
    ("best", "found"),
    [(ITSELF, "/run/two"), (BestCheckpoint("/run/one"), "/run/one"), (BestCheckpoint(), None)],
    ids=["itself", "another", "none"],
)
def test_the_best_is_found_from_the_checkpoint_that_keeps_it(best: BestCheckpoint, found: str | None):
    kept = BestCheckpoint.of({"bestCheckpoint": best.state()})
    assert kept == best
    assert kept.found_at("/run/two") == found
