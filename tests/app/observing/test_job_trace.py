"""The trace of a job is what its events tell: waits, attempts, epochs, each within the other."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from app.observing.job_trace import MOST_EPOCHS, Piece, nanoseconds, trace_of
from app.store.sqlite import SqliteStore
from schemas.events import Event
from tests.app.scene import new_job

SECOND = 1_000_000_000
Said = tuple[int, str, int, dict[str, Any]]


def told(tmp_path: Path, *said: Said) -> Piece:
    """The trace of a job of which this was said: second, type, attempt, data. Accepted at second 0, claimed at 2."""
    store = SqliteStore(tmp_path / "jobs.db")
    row, _ = store.accept(new_job())
    store.close()
    attempt = max(attempt for _, _, attempt, _ in said)
    row = replace(row, created_at=moment(0), started_at=moment(2), attempt=attempt, assigned=("cpu",))
    events = [
        Event(seq=seq, type=kind, time=moment(second), job_id=row.job_id, attempt=number, data=data)
        for seq, (second, kind, number, data) in enumerate(said)
    ]
    return trace_of(row, events)


def moment(second: int) -> str:
    """A time, so many seconds after the job's beginning."""
    return f"2026-01-02T03:{second // 60:02}:{second % 60:02}.000Z"


def seen(piece: Piece) -> list[tuple[str, float, float]]:
    """Name, begin and end of each part, in seconds after the job's beginning."""
    zero = nanoseconds(moment(0))
    return [(part.name, (part.start - zero) / SECOND, (part.end - zero) / SECOND) for part in piece.parts]


def ended(state: str, code: str | None = None) -> dict[str, Any]:
    """The data of job.completed."""
    return {"state": state, "output": {"error": {"code": code}} if code else {}}


def test_a_job_that_was_lost_once_and_paused_once(tmp_path: Path):
    trace = told(
        tmp_path,
        (0, "job.queued", 0, {"position": 0}),
        (3, "job.started", 1, {}),
        (4, "epoch.started", 1, {"epoch": 1}),
        (6, "epoch.completed", 1, {"epoch": 1, "trainLoss": 0.5, "isBest": True}),
        (7, "epoch.started", 1, {"epoch": 2}),
        (8, "attempt.failed", 1, {"code": "worker_lost"}),
        (10, "job.started", 2, {}),
        (11, "epoch.started", 2, {"epoch": 2}),
        (12, "job.pausing", 2, {}),
        (13, "job.paused", 2, {}),
        (20, "job.resumed", 2, {}),
        (22, "job.started", 3, {}),
        (23, "epoch.started", 3, {"epoch": 2}),
        (24, "epoch.completed", 3, {"epoch": 2, "trainLoss": 0.25, "isBest": False}),
        (25, "job.completed", 3, ended("succeeded")),
    )
    assert seen(trace) == [
        ("queue wait", 0, 2),
        ("attempt", 2, 8),
        ("queue wait", 8, 10),
        ("attempt", 10, 13),
        ("queue wait", 20, 22),
        ("attempt", 22, 25),
    ]
    first, second, third = (part for part in trace.parts if part.name == "attempt")
    assert seen(first) == [("epoch", 4, 6)]
    assert (second.parts, seen(third)) == ([], [("epoch", 23, 24)])
    assert first.parts[0].attributes == {"epoch.number": 1, "epoch.train_loss": 0.5, "epoch.is_best": True}
    assert [part.error for part in (first, second, third, trace)] == ["worker_lost", None, None, None]
    assert (trace.attributes["job.state"], trace.attributes["job.attempts"]) == ("succeeded", 3)


def test_a_job_that_failed(tmp_path: Path):
    trace = told(
        tmp_path,
        (0, "job.queued", 0, {}),
        (3, "job.started", 1, {}),
        (5, "job.completed", 1, ended("failed", "diverged")),
    )
    assert (trace.error, trace.parts[-1].error) == ("diverged", "diverged")


def test_a_job_that_was_cancelled_in_the_queue_has_waited_and_nothing_else(tmp_path: Path):
    trace = told(tmp_path, (0, "job.queued", 0, {}), (5, "job.completed", 0, ended("cancelled", "cancelled")))
    assert seen(trace) == [("queue wait", 0, 5)]
    assert (trace.error, trace.attributes["job.state"]) == (None, "cancelled")


def test_a_worker_that_lies_about_the_time_turns_no_span_around(tmp_path: Path):
    trace = told(
        tmp_path,
        (5, "job.queued", 0, {}),
        (0, "job.started", 1, {}),
        (9, "epoch.started", 1, {"epoch": 1}),
        (1, "epoch.completed", 1, {"epoch": 1, "isBest": True}),
        (12, "job.completed", 1, ended("succeeded")),
    )
    attempt = trace.parts[-1]
    assert trace.start <= attempt.start <= attempt.parts[0].start <= attempt.parts[0].end <= attempt.end <= trace.end


def test_a_long_job_has_a_bounded_trace(tmp_path: Path):
    epochs: list[Said] = []
    for number in range(1, 1002):
        epochs += [(number, "epoch.started", 1, {"epoch": number}), (number, "epoch.completed", 1, {"epoch": number})]
    trace = told(
        tmp_path,
        (0, "job.queued", 0, {}),
        (1, "job.started", 1, {}),
        *epochs,
        (1100, "job.completed", 1, ended("succeeded")),
    )
    numbers = [part.attributes["epoch.number"] for part in trace.parts[-1].parts]
    assert MOST_EPOCHS // 2 < len(numbers) <= MOST_EPOCHS
    assert numbers[0] == 1
    assert {int(later) - int(earlier) for earlier, later in pairwise(numbers)} == {4}
