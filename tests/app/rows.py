"""A row of the store: a job whose worker runs."""

from app.store.interface import JobRow
from schemas.job import Progress
from tests.app.scene import request

ROW = JobRow(
    job_id="job_1",
    state="running",
    reason_code=None,
    reason_message=None,
    request=request(trainingConfig={"seed": 7}),
    input_sha256="a" * 64,
    model_sha256="b" * 64,
    git_commit="c0ffee",
    engine="native",
    labels={},
    devices=1,
    created_at="2026-01-02T03:04:00.000Z",
    started_at=None,
    finished_at=None,
    attempt=1,
    last_seq=0,
    progress=Progress(),
    payload=None,
)
