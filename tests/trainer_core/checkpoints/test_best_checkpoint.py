"""A checkpoint says which one is the best of its run."""

import pytest

from trainer_core.checkpoints.best_checkpoint import ITSELF, BestCheckpoint


@pytest.mark.parametrize(
    ("best", "found", "earlier"),
    [(ITSELF, "/run/two", None), (BestCheckpoint("/run/one"), "/run/one", "/run/one"), (BestCheckpoint(), None, "")],
    ids=["itself", "another", "none"],
)
def test_the_best_is_found_from_the_checkpoint_that_keeps_it(
    best: BestCheckpoint, found: str | None, earlier: str | None
):
    """Also as the first checkpoints of this format kept it, under another name."""
    for state in ({"bestCheckpoint": best.state()}, {"bestPath": earlier}):
        assert BestCheckpoint.of(state) == best
        assert BestCheckpoint.of(state).found_at("/run/two") == found
