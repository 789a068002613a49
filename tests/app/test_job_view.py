"""A job in one line, for a person or an agent."""

from typing import Any

import pytest

from app.job_view import view_of
from app.store.interface import JobRow
from schemas.job import Progress

FIGURES = Progress(
    epoch=3, epochs=10, step=120, total_steps=450, loss_average=0.41234, val_accuracy=0.93, eta_seconds=40.4
)
PAYLOAD = {
    "metrics": {"epochsTrained": 8, "trainingTime": 20.5, "valLoss": 0.04, "valAccuracy": 0.986},
    "bestEpoch": 7,
}


def row(**changes: Any) -> JobRow:
    values: dict[str, Any] = {
        "job_id": "job_1", "state": "running", "reason_code": None, "reason_message": None, "request": {},
        "input_sha256": "", "model_sha256": "", "git_commit": None, "engine": "native", "labels": {}, "devices": 1,
        "created_at": "", "started_at": None, "finished_at": None, "attempt": 1, "last_seq": 3, "progress": FIGURES,
        "payload": None,
    }  # fmt: skip
    return JobRow(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "position", "summary"),
    [
        ({}, None, "running: epoch 3 of 10, step 120 of 450, loss 0.4123, val accuracy 0.93, about 40 s left"),
        ({"progress": Progress()}, None, "running: training begins"),
        ({"progress": Progress(epoch=1, eta_seconds=600)}, None, "running: epoch 1, about 10 min left"),
        ({"state": "queued"}, 0, "queued: next in line"),
        ({"state": "queued"}, 1, "queued: 1 job ahead"),
        ({"state": "queued"}, 7, "queued: 7 jobs ahead"),
        ({"state": "preparing"}, None, "preparing: loading the model and the data"),
        ({"state": "finalizing"}, None, "finalizing: writing the results, epoch 3 of 10"),
        (
            {"state": "succeeded", "payload": PAYLOAD},
            None,
            "succeeded: 8 epochs in 20 s, val loss 0.0400, val accuracy 0.99 (best: epoch 7)",
        ),
        ({"state": "failed", "reason_code": "diverged", "reason_message": "The loss is NaN."}, None, "failed: The loss is NaN."),
    ],
)  # fmt: skip
def test_the_summary_says_what_matters_in_this_state(changes: dict[str, Any], position: int | None, summary: str):
    view = view_of(row(**changes), position)
    assert view.summary == summary
    assert view.next_action is not None
