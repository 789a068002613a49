"""A thousand jobs that wait: what each submission, claim and start costs does not grow with them beyond its bound.

The same with ten thousand, over HTTP, is ``benchmarks/long_queue.py``.
"""

import asyncio
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from app.job_folder import make_job_folder
from app.store.rows import job_values
from app.store.sqlite import SqliteStore, _append, _known
from app.store.statements import statements
from schemas.events import JobQueued
from tests.app.scene import TIME, Scene, in_a_loop, new_job
from tests.tiers import rounds

JOBS = rounds(small=1_000, large=10_000)
SETTLED = 2 * JOBS
SUBMIT_MS, CLAIM_MS, RESTART_MS = 50.0, 20.0, 3000.0


def fill(store: SqliteStore) -> None:
    """A store that has been used for long: many jobs that have ended, many that wait."""
    insert = statements("queries.sql")["insert_job"]
    with store._database.writing() as connection:
        for number in range(SETTLED + JOBS):
            job = new_job()
            connection.execute(insert, job_values(job, TIME))
            _append(connection, _known(connection, job.job_id), [(JobQueued(position=number), TIME)])
        ended = "UPDATE job SET state = 'succeeded', finished_at = ?, payload = '{}' WHERE number <= ?"
        connection.execute(ended, (TIME, SETTLED))


def p99(call: Callable[[], Any], times: int = 100) -> float:
    """The 99th percentile of the milliseconds that ``call`` takes."""
    took = []
    for _ in range(times):
        began = perf_counter()
        call()
        took.append(1000 * (perf_counter() - began))
    return statistics.quantiles(took, n=100)[98]


@pytest.mark.alone
@in_a_loop
async def test_a_long_queue_makes_nobody_wait(tmp_path: Path, record_property: Callable[[str, Any], None]):
    scene = Scene(tmp_path)
    store = scene.store
    fill(store)
    for row in store.queue(JOBS):
        (scene.settings.jobs / row.job_id).mkdir(parents=True)

    def submit() -> None:
        assert store.queued() >= JOBS
        job = new_job()
        make_job_folder(scene.settings.jobs, job.job_id, b"end('succeeded')")
        row, _ = store.accept(job)
        assert store.position(row.job_id) >= JOBS

    def claim() -> None:
        assert store.claim(store.queue(1)[0].job_id, ("cpu",)) is not None

    figures = {"submit p99": p99(submit), "claim p99": p99(claim)}
    with store._database.writing() as connection:
        connection.execute("UPDATE job SET state = 'paused' WHERE state IN ('queued', 'preparing')")
    store.close()
    began = perf_counter()
    async with asyncio.timeout(60), Scene(tmp_path) as started:
        figures["restart"] = 1000 * (perf_counter() - began)
        assert started.store.queued() == 0
    for name, milliseconds in figures.items():
        record_property(name, f"{milliseconds:.1f} ms")
    print(figures)
    assert figures["submit p99"] <= SUBMIT_MS
    assert figures["claim p99"] <= CLAIM_MS
    assert figures["restart"] <= RESTART_MS


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("queued", {}),
        ("position", {"job_id": "job_1"}),
        ("oldest", {"states": '["queued"]', "only": "[]", "but": "[]", "limit": 1}),
    ],
)
def test_what_is_asked_at_each_submission_and_claim_has_an_index(tmp_path: Path, name: str, values: dict[str, Any]):
    store = SqliteStore(tmp_path / "jobs.db")
    with store._database.reading() as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statements('queries.sql')[name]}", values).fetchall()
    store.close()
    about_jobs = [row["detail"] for row in plan if "job" in row["detail"]]
    assert about_jobs
    assert [detail for detail in about_jobs if not (detail.startswith("SEARCH") and "INDEX" in detail)] == []
