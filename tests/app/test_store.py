"""The store: one acceptance, one attempt, one result, and no state that the table does not lead to."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest

from app.store.interface import IllegalTransition, KeyConflict, Store, StoreUnavailable
from app.store.migrating import MIGRATIONS
from app.store.sqlite import SqliteStore
from schemas.events import (
    AttemptFailed,
    EpochCompleted,
    EpochStarted,
    JobCancelling,
    JobStarted,
    Log,
    RunFinalizing,
    Step,
    WorkerLine,
)
from schemas.job import TERMINAL, TRANSITIONS, JobState
from tests.app.scene import TIME, line, new_job, request

PAYLOAD = {"status": "error", "metrics": {}, "checkpointPath": ""}
CANCELLED = ("cancelled", "The job was cancelled.")
FAILED = AttemptFailed(code="worker_lost", will_retry=True)
PATHS: dict[JobState, tuple[JobState, ...]] = {
    "queued": (),
    "preparing": ("preparing",),
    "running": ("preparing", "running"),
    "finalizing": ("preparing", "running", "finalizing"),
    "pausing": ("preparing", "pausing"),
    "paused": ("paused",),
    "stopping": ("preparing", "stopping"),
    "cancelling": ("preparing", "cancelling"),
    **{state: ("preparing", state) for state in TERMINAL},
}


@pytest.fixture
def store(tmp_path: Path):
    store = SqliteStore(tmp_path / "home" / "jobs.db")
    yield store
    store.close()


def accepted(store: Store, **changes: object) -> str:
    return store.accept(new_job(**changes))[0].job_id


def claimed(store: Store) -> str:
    job_id = accepted(store)
    assert store.claim(job_id, ("cpu",)) is not None
    return job_id


def reach(store: Store, state: JobState) -> str:
    """A job in ``state``."""
    job_id = accepted(store)
    for step in PATHS[state]:
        assert change(store, job_id, step)
    return job_id


def change(store: Store, job_id: str, state: JobState) -> bool:
    """Ask the store to bring the job to ``state`` by the method that is made for it."""
    row = store.get(job_id)
    assert row is not None
    if state == "preparing":
        return store.claim(job_id, ("cpu",)) is not None
    if state == "queued":
        return store.release(job_id, row.attempt, "queued", FAILED, None)
    try:
        if state in TERMINAL:
            return store.settle(job_id, row.attempt, state, PAYLOAD, None)
        store.say(job_id, Log(level="info", stream="service", text=state), state=state)
    except IllegalTransition:
        return False
    return True


def test_an_accepted_job_has_its_event_0_and_its_place(store: Store):
    first, second = accepted(store), accepted(store)
    row = store.get(second)
    assert row is not None
    assert (row.state, row.attempt, row.last_seq, row.payload) == ("queued", 0, 0, None)
    assert [event.to_json() for event in store.events(second, after=-1)] == [
        {
            "seq": 0,
            "type": "job.queued",
            "time": row.created_at,
            "jobId": second,
            "attempt": 0,
            "data": {"position": 1},
        }
    ]
    assert (store.position(first), store.position(second)) == (0, 1)
    assert [job.job_id for job in store.queue(10)] == [first, second]
    assert [job.job_id for job in store.queue(1, but=("sklearn",))] == [first]
    assert store.queue(10, only=("sklearn",)) == store.queue(10, but=("native", "sklearn")) == []


def test_a_key_seen_before_finds_its_job_and_refuses_another_input(store: Store):
    first, created = store.accept(new_job(idempotency_key="k"))
    again, created_again = store.accept(new_job(idempotency_key="k"))
    assert (created, created_again, again.job_id) == (True, False, first.job_id)
    with pytest.raises(KeyConflict) as conflict:
        store.accept(new_job(idempotency_key="k", input_sha256="c" * 64))
    assert conflict.value.job_id == first.job_id
    assert len(store.list()) == 1


def test_one_key_sent_by_8_clients_at_once_is_one_job(store: Store):
    start = threading.Barrier(8)

    def post(_client: int) -> tuple[str, bool]:
        start.wait()
        row, created = store.accept(new_job(idempotency_key="k"))
        return row.job_id, created

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(post, range(8)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1


def test_8_threads_never_claim_a_job_twice(store: Store):
    jobs = [accepted(store) for _ in range(40)]
    start = threading.Barrier(8)

    def claim_all(_thread: int) -> list[str]:
        start.wait()
        return [row.job_id for row in store.queue(100) if store.claim(row.job_id, ("cpu",))]

    with ThreadPoolExecutor(8) as threads:
        taken = [job_id for share in threads.map(claim_all, range(8)) for job_id in share]
    assert sorted(taken) == jobs
    assert {row.attempt for row in store.active()} == {1}


@pytest.mark.parametrize("wanted", get_args(JobState))
@pytest.mark.parametrize("state", get_args(JobState))
def test_states_change_as_the_table_says_and_no_other_way(store: Store, state: JobState, wanted: JobState):
    job_id = reach(store, state)
    before = store.get(job_id)
    assert change(store, job_id, wanted) is (wanted in TRANSITIONS[state])
    after = store.get(job_id)
    assert after is not None
    assert after.state == wanted if wanted in TRANSITIONS[state] else after == before


def test_lines_get_their_numbers_and_imply_states_and_progress(store: Store):
    job_id = claimed(store)
    said = [
        line(JobStarted(pid=1, engine="native", devices=["cpu"], versions={})),
        line(EpochStarted(epoch=1, epochs=3, steps=10)),
        line(Step(epoch=1, step=4, total_steps=30, loss=0.5, learning_rate=0.1, eta_seconds=9.0)),
        line(Step(epoch=1, step=5, total_steps=30, learning_rate=0.1)),
    ]
    events = store.ingest(job_id, 1, said, 400)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert list(store.events(job_id, after=0)) == list(events)
    assert store.offset(job_id, 1) == 400
    row = store.get(job_id)
    assert row is not None
    assert (row.state, row.last_seq) == ("running", 4)
    assert row.progress.to_json() == {"epoch": 1, "epochs": 3, "step": 5, "totalSteps": 30, "learningRate": 0.1}
    store.ingest(job_id, 1, [line(EpochCompleted(epoch=1, train_loss=0.4, val_accuracy=0.9))], 500)
    store.ingest(job_id, 1, [line(RunFinalizing(epochs_trained=1, seconds=2.0))], 600)
    row = store.get(job_id)
    assert row is not None
    assert (row.state, row.progress.val_accuracy, row.progress.loss_average) == ("finalizing", 0.9, 0.4)


def test_an_offset_already_stored_is_not_stored_again(store: Store):
    job_id = claimed(store)
    said = [line(EpochStarted(epoch=1, epochs=1, steps=1))]
    assert len(store.ingest(job_id, 1, said, 100)) == 1
    assert store.ingest(job_id, 1, said, 100) == []
    assert store.ingest(job_id, 1, said, 60) == []
    row = store.get(job_id)
    assert row is not None
    assert row.last_seq == 1


def test_an_epoch_that_starts_after_the_cancel_changes_nothing_but_is_told(store: Store):
    job_id = claimed(store)
    store.say(job_id, JobCancelling(reason="asked"), state="cancelling", reason=CANCELLED)
    store.ingest(job_id, 1, [line(EpochStarted(epoch=1, epochs=1, steps=1))], 10)
    row = store.get(job_id)
    assert row is not None
    assert (row.state, row.reason_code) == ("cancelling", "cancelled")
    assert [event.type for event in store.events(job_id, after=-1)] == [
        "job.queued",
        "job.cancelling",
        "epoch.started",
    ]


def test_what_an_older_attempt_says_or_settles_is_refused(store: Store):
    job_id = claimed(store)
    assert store.release(job_id, 1, "queued", FAILED, None)
    assert store.claim(job_id, ("cpu",)) is not None
    before = store.events(job_id, after=-1)
    assert store.ingest(job_id, 1, [line(EpochStarted(epoch=1, epochs=1, steps=1))], 50) == []
    assert not store.settle(job_id, 1, "succeeded", PAYLOAD, None)
    assert not store.release(job_id, 1, "queued", FAILED, None)
    assert store.events(job_id, after=-1) == before
    row = store.get(job_id)
    assert row is not None
    assert (row.state, row.attempt) == ("preparing", 2)
    assert (store.offset(job_id, 1), store.offset(job_id, 2)) == (0, 0)


def test_a_result_is_recorded_once_and_nothing_follows_it(store: Store):
    job_id = claimed(store)
    assert store.settle(job_id, 1, "cancelled", PAYLOAD, CANCELLED)
    assert not store.settle(job_id, 1, "succeeded", {}, None)
    assert store.ingest(job_id, 1, [line(EpochStarted(epoch=1, epochs=1, steps=1))], 50) == []
    with pytest.raises(IllegalTransition):
        store.say(job_id, Log(level="info", stream="service", text="late"))
    row = store.get(job_id)
    assert row is not None
    assert (row.state, row.payload, row.reason_code) == ("cancelled", PAYLOAD, "cancelled")
    assert row.finished_at is not None
    last = store.events(job_id, after=-1)[-1]
    assert (last.type, last.data) == ("job.completed", {"state": "cancelled", "output": PAYLOAD})
    assert last.seq == row.last_seq


@pytest.mark.parametrize(
    "bad",
    [
        WorkerLine(type="epoch.exploded", time=TIME, data={}),
        WorkerLine(type="epoch.started", time=TIME, data={"epoch": 0}),
        WorkerLine(type="epoch.started", time="yesterday", data={"epoch": 1, "epochs": 1, "steps": 1}),
        WorkerLine(type="epoch.started", time="2026-01-01T00:00:00", data={"epoch": 1, "epochs": 1, "steps": 1}),
        WorkerLine(type="log", time=TIME, data={"level": "info", "stream": "worker", "text": "\ud800"}),
        WorkerLine(type="job.completed", time=TIME, data={"state": "succeeded", "output": PAYLOAD}),
        WorkerLine(type="job.cancelling", time=TIME, data={"reason": "mine"}),
        WorkerLine(type="\x1b[31mred\u202e" + "x" * 9000, time=TIME, data={}),
    ],
    ids=["type", "data", "time", "zone", "surrogate", "forged end", "forged cancel", "control characters"],
)
def test_a_bad_line_becomes_a_log_event_and_the_next_one_counts(store: Store, bad: WorkerLine):
    job_id = claimed(store)
    log, good = store.ingest(job_id, 1, [bad, line(EpochStarted(epoch=1, epochs=1, steps=1))], 99)
    assert (log.type, log.data["level"], good.type) == ("log", "warning", "epoch.started")
    text = log.data["text"]
    assert text.isprintable() or "\n" in text
    assert "\x1b" not in text
    assert len(text.encode()) <= 3 * 2048
    assert list(store.events(job_id, after=0)) == [log, good]
    row = store.get(job_id)
    assert row is not None
    assert row.state == "running"


def test_jobs_are_listed_newest_first_by_state_label_and_page(store: Store):
    jobs = [accepted(store, labels={"team": "a" if number % 2 else "b", 'q"': "x"}) for number in range(5)]
    store.claim(jobs[0], ("cpu",))
    newest = list(reversed(jobs))
    assert [row.job_id for row in store.list()] == newest
    assert [row.job_id for row in store.list(limit=2)] == newest[:2]
    assert [row.job_id for row in store.list(before=newest[1], limit=2)] == newest[2:4]
    assert [row.job_id for row in store.list(label=("team", "a"))] == [jobs[3], jobs[1]]
    assert [row.job_id for row in store.list(label=('q"', "x"), states=("preparing",))] == [jobs[0]]
    assert [row.job_id for row in store.list(states=("queued", "preparing"))] == newest
    assert store.list(before="job_unknown") == []


def test_events_come_in_pages_in_order(store: Store):
    job_id = claimed(store)
    store.ingest(job_id, 1, [line(EpochStarted(epoch=n, epochs=9, steps=1)) for n in range(1, 10)], 10)
    assert [event.seq for event in store.events(job_id, after=3, limit=4)] == [4, 5, 6, 7]
    assert store.events(job_id, after=9) == []


def test_an_unknown_job_is_absent_and_cannot_be_spoken_of(store: Store):
    assert store.get("job_unknown") is None
    assert store.claim("job_unknown", ("cpu",)) is None
    assert store.offset("job_unknown", 1) == 0
    with pytest.raises(LookupError, match="job_unknown"):
        store.settle("job_unknown", 1, "failed", PAYLOAD, None)


def test_what_was_accepted_survives_a_kill(tmp_path: Path):
    program = (
        "import os, sys, dataclasses\n"
        "from app.store.sqlite import SqliteStore\n"
        "from tests.app.scene import new_job\n"
        "from pathlib import Path\n"
        "store = SqliteStore(Path(sys.argv[1]))\n"
        "print(store.accept(new_job(request={'word': 'ß'}))[0].job_id, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "jobs.db"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL, done.stderr
    store = SqliteStore(path)
    row = store.get(done.stdout.strip())
    store.close()
    assert row is not None
    assert row.request == {"word": "ß"}


def test_a_full_disk_refuses_the_change_whole_and_later_takes_it(store: SqliteStore):
    job_id = claimed(store)
    with store._database.writing() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    store._database._writer.execute(f"PRAGMA max_page_count = {pages}")
    said = [line(Log(level="info", stream="worker", text="x" * 2000)) for _ in range(50)]
    with pytest.raises(StoreUnavailable, match="full"):
        store.ingest(job_id, 1, said, 10)
    assert (store.offset(job_id, 1), len(store.events(job_id, after=0))) == (0, 0)
    store._database._writer.execute("PRAGMA max_page_count = 100000")
    assert len(store.ingest(job_id, 1, said, 10)) == 50


def test_a_change_that_breaks_off_leaves_nothing(store: SqliteStore):
    job_id = claimed(store)

    def break_off() -> None:
        with store._database.writing() as connection:
            connection.execute("UPDATE job SET attempt = 9")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    row = store.get(job_id)
    assert row is not None
    assert row.attempt == 1


def test_the_database_is_private_and_a_newer_one_is_refused(tmp_path: Path):
    path = tmp_path / "jobs.db"
    SqliteStore(path).close()
    SqliteStore(path).close()
    assert os.stat(path).st_mode & 0o777 == 0o600
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreUnavailable, match=rf"version 99.*up to {len(MIGRATIONS)}.*newer release"):
        SqliteStore(path)


def test_what_is_no_database_is_refused_with_its_name(tmp_path: Path):
    path = tmp_path / "jobs.db"
    path.write_text("not a database, but long enough to look at" * 40)
    with pytest.raises(StoreUnavailable, match=r"jobs\.db"):
        SqliteStore(path)


def test_a_request_comes_back_as_it_was(store: Store):
    wanted = request(labels={"a": "1"}, trainingConfig={"learningRate": 1e-300})
    assert store.list()[:0] == []
    row, _ = store.accept(new_job(request=wanted, labels={"a": "1"}, devices=3, git_commit="f00-dirty"))
    assert (row.request, row.labels, row.devices, row.git_commit) == (wanted, {"a": "1"}, 3, "f00-dirty")
