"""Attempts: what is lost is tried again, from the newest checkpoint, a number of times; what hangs is ended."""

import fcntl
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.clock import from_now, now, seconds_until
from app.supervision.history import History
from app.supervision.retries import rest_left, retry_of
from app.supervision.silence import Silence
from app.supervision.verdict import training_error
from schemas.assignment import Outcome
from schemas.failures import FAILURES, FailureCode
from tests.app.scene import LISTENS, PATIENT, Scene, in_a_loop, open_gate, request

# A worker as the engines are: it goes on from what the attempt before it has saved.
GOES_ON = """
attempt = assignment["attempt"]
say("job.started", pid=os.getpid(), engine="native", devices=["cpu"], versions={})
def save(number):
    say("checkpoint.saved", path=f"/run/epoch-{number}", kind="epoch", epoch=number, step=number, bytes=1, sha256="",
        isBest=True)
def restore(number):
    rows = [{"epoch": n, "trainLoss": 1 / n, "seconds": 2.0} for n in range(1, number + 1)]
    say("run.restored", path=f"/run/epoch-{number}", epoch=number, step=number, history=rows, bestEpoch=number,
        bestPath=f"/run/epoch-{number}")
def die(): os.kill(os.getpid(), signal.SIGKILL)
"""
LOST_ONCE = f"""{GOES_ON}
if attempt == 1:
    epoch(1); save(1); epoch(2); save(2); epoch(3); die()
assert assignment["goOn"]
restore(2); epoch(3); save(3); say("run.finalizing", epochsTrained=3, seconds=3.0); end("succeeded")
"""


def limits(**values: Any) -> dict[str, object]:
    return request(limits={"maxAttempts": 3, **values})


@in_a_loop
async def test_a_lost_worker_is_followed_by_another_that_goes_on_from_the_newest_checkpoint(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(LOST_ONCE, request=limits())
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.attempt) == ("succeeded", 2)
        failed = await scene.said(job_id, "attempt.failed")
        assert (failed.attempt, failed.data["code"], failed.data["willRetry"]) == (1, "worker_lost", True)
        assert failed.data["fromCheckpoint"] == "/run/epoch-2"
        assert "SIGKILL" in failed.data["message"]
        assert [point["epoch"] for point in row.payload["learningCurve"]] == [1, 2, 3]
        assert row.payload["metrics"]["trainingTime"] == 7.0
        assert row.payload["checkpointPath"] == "/run/epoch-3"
        first, second = row.payload["attempts"]
        assert (first["number"], first["ended"]) == (1, "worker_lost")
        assert (second["number"], second["fromCheckpoint"], second.get("ended")) == (2, "/run/epoch-2", None)
        # The numbers of events go on; an adopted service sees the same (Scene.events asserts that there is no gap).
        assert [event.attempt for event in scene.events(job_id)] == sorted(e.attempt for e in scene.events(job_id))


@pytest.mark.parametrize(
    ("saves", "attempts"),
    [("", 2), ("save(attempt);", 4), ("attempt == 2 and save(2);", 3)],
    ids=["no progress", "progress", "progress once"],
)
@in_a_loop
async def test_attempts_are_bounded_and_end_where_nothing_comes_of_them(tmp_path: Path, saves: str, attempts: int):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(f"{GOES_ON}\nepoch(1); {saves} die()", request=limits(maxAttempts=4))
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.reason_code, row.attempt) == ("failed", "worker_lost", attempts)
        assert len(row.payload["attempts"]) == attempts


@in_a_loop
async def test_a_worker_that_dies_without_a_word_is_tried_once_more_and_no_oftener(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit("os.kill(os.getpid(), signal.SIGKILL)", request=limits(maxAttempts=9))
        row = await scene.settled(job_id)
        assert (row.state, row.attempt) == ("failed", 2)


@in_a_loop
async def test_what_an_attempt_trained_and_did_not_save_is_forgotten(tmp_path: Path):
    program = f"{GOES_ON}\nif attempt == 1:\n    epoch(1); epoch(2); epoch(3); die()\nepoch(1); end('succeeded')"
    async with Scene(tmp_path) as scene:
        row = await scene.settled(scene.submit(program, request=limits()))
        assert row.payload is not None
        assert [point["epoch"] for point in row.payload["learningCurve"]] == [1]
        assert row.payload["bestEpoch"] == 1


@pytest.mark.parametrize("code", FAILURES)
def test_only_what_may_pass_is_tried_again(code: FailureCode):
    outcome = Outcome(state="failed", error=training_error(code, "It failed."))
    retry = retry_of(outcome, History(checkpoint="/run/1"), attempt=1, max_attempts=3, rest_seconds=2.0)
    assert (retry is not None) is (code in ("worker_lost", "hung"))


def test_the_rest_before_an_attempt_grows_and_is_bounded():
    outcome = Outcome(state="failed", error=training_error("worker_lost", "It is gone."))
    histories = [History(lost=lost, checkpoint="/run/1", saved_in=lost + 1) for lost in range(5)]
    retries = [retry_of(outcome, each, attempt=each.lost + 1, max_attempts=9, rest_seconds=2.0) for each in histories]
    assert [retry and retry.after_seconds for retry in retries] == [2.0, 8.0, 32.0, 60.0, 60.0]


@pytest.mark.parametrize(("node", "attempts"), [(0, 2), (1, 3)])
@in_a_loop
async def test_a_node_that_keeps_no_checkpoints_is_tried_again_without_one(tmp_path: Path, node: int, attempts: int):
    """How far the run came is for the first node to say; it is tried again, and the others with it."""
    training = {"numNodes": 2, "rendezvous": {"endpoint": "127.0.0.1:29500", "nodeRank": node}}
    async with Scene(tmp_path) as scene:
        asked = request(trainingConfig=training, limits={"maxAttempts": 3})
        row = await scene.settled(scene.submit(f"{GOES_ON}\nepoch(1); die()", request=asked))
        assert (row.state, row.reason_code, row.attempt) == ("failed", "worker_lost", attempts)


@in_a_loop
async def test_a_resting_job_lets_others_pass_and_can_be_cancelled(tmp_path: Path):
    async with Scene(tmp_path, retry_rest_seconds=3600.0) as scene:
        job_id = scene.submit(f"{GOES_ON}\nepoch(1); die()", request=limits())
        failed = await scene.said(job_id, "attempt.failed")
        assert failed.data["afterSeconds"] == 60.0
        assert (await scene.settled(scene.submit("epoch(1); end('succeeded')"))).state == "succeeded"
        assert scene.row(job_id).state == "queued"
        await scene.supervisor.cancel(job_id)
        assert (await scene.settled(job_id)).state == "cancelled"


@in_a_loop
async def test_a_rest_goes_on_when_the_service_restarts_and_ends(tmp_path: Path):
    async with Scene(tmp_path, retry_rest_seconds=3600.0) as scene:
        job_id = scene.submit(LOST_ONCE, request=limits())
        await scene.said(job_id, "attempt.failed")
    async with Scene(tmp_path) as scene:
        # A later job has run, so this one was passed over.
        assert (await scene.settled(scene.submit("epoch(1); end('succeeded')"))).state == "succeeded"
        row = scene.row(job_id)
        assert (row.state, row.attempt) == ("queued", 1)
        assert row.rests_until is not None
        assert 30 < seconds_until(row.rests_until) <= 60
    with closing(sqlite3.connect(tmp_path / "pytorch-trainer.db")) as connection, connection:
        connection.execute("UPDATE job SET rests_until = ? WHERE job_id = ?", (now(), job_id))
    async with Scene(tmp_path) as scene:
        row = await scene.settled(job_id)
        assert (row.state, row.attempt, row.rests_until) == ("succeeded", 2, None)


def test_a_clock_that_was_put_back_makes_no_rest_longer():
    assert rest_left(from_now(86400)) == 60.0
    assert rest_left(from_now(-86400)) == 0.0
    assert 9 < rest_left(from_now(10)) <= 10


@in_a_loop
async def test_a_worker_that_was_lost_while_it_was_being_cancelled_is_not_tried_again(tmp_path: Path):
    program = f"{GOES_ON}\nsignal.signal(signal.SIGTERM, lambda *_: die())\nepoch(1)\nwhile True: signal.pause()"
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(program, request=limits())
        await scene.said(job_id, "epoch.completed")
        await scene.supervisor.cancel(job_id)
        row = await scene.settled(job_id)
        assert (row.state, row.attempt) == ("cancelled", 1)


@in_a_loop
async def test_the_time_limit_of_a_job_counts_all_its_attempts(tmp_path: Path):
    program = f"seconds_ago = 6.0\n{GOES_ON}\nseconds_ago = 0.0; epoch(1); save(attempt); die()"
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(program, request=limits(maxAttempts=50, maxSeconds=10.0))
        row = await scene.settled(job_id)
        assert row.reason_code == "timeout"
        assert row.attempt == 3


@in_a_loop
async def test_a_training_whose_time_is_over_ends_with_what_it_has(tmp_path: Path):
    program = f"""{GOES_ON}
signal.signal(signal.SIGTERM, lambda *_: (save(1), end("early_stopped"), os._exit(0)))
{LISTENS}
epoch(1)
while True: signal.pause()
"""
    async with Scene(tmp_path, PATIENT) as scene:
        job_id = scene.submit(program, request=limits(stopAfterSeconds=0.5, maxSeconds=60))
        row = await scene.settled(job_id)
        assert (row.state, row.payload and row.payload["status"]) == ("early_stopped", "early_stopped")
        (stopping,) = [event for event in scene.events(job_id) if event.type == "job.stopping"]
        assert stopping.data["reason"] == "limits.stopAfterSeconds (0.5 s) is over."


@in_a_loop
async def test_a_worker_that_says_nothing_is_ended_with_its_stacks_in_the_log_and_tried_again(tmp_path: Path):
    program = f"""{GOES_ON}
import threading
def wait_for_what_never_comes():
    threading.Event().wait()
epoch(1); save(1)
if attempt == 1:
    hide_a_child()
    wait_for_what_never_comes()
end("succeeded")
"""
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(program, request=limits(maxSilentSeconds=2.0))
        row = await scene.settled(job_id)
        assert (row.state, row.attempt) == ("succeeded", 2)
        failed = await scene.said(job_id, "attempt.failed")
        assert failed.data["code"] == "hung"
        assert "wait_for_what_never_comes" in (scene.attempt(job_id) / "worker.log").read_text()


@pytest.mark.alone
@in_a_loop
async def test_a_worker_that_computes_is_no_hanging_one_and_an_idle_one_is(tmp_path: Path):
    busy = f"{GOES_ON}\nimport time\nbegin = time.monotonic()\nwhile time.monotonic() < begin + 1.5: pass\nend('succeeded')"
    idle = f"{GOES_ON}\nsignal.pause()"
    async with Scene(tmp_path, idle_silence_seconds=0.5, slots=2) as scene:
        working, hanging = scene.submit(busy), scene.submit(idle)
        assert (await scene.settled(working)).state == "succeeded"
        row = await scene.settled(hanging)
        assert row.payload is not None
        assert (row.state, row.reason_code) == ("failed", "hung")
        assert "said nothing for" in row.payload["error"]["message"]


def test_silence_is_counted_from_the_last_word():
    silence, used = Silence(10.0, 1800.0), lambda: 0.0
    assert silence.hangs(0, 0.0, used) is None
    assert silence.hangs(0, 9.9, used) is None
    assert silence.hangs(1, 10.0, used) is None
    assert silence.hangs(1, 19.9, used) is None
    assert silence.hangs(1, 20.0, used, ending=True) is None
    assert silence.hangs(1, 20.0, used) == 10.0


@in_a_loop
async def test_a_worker_that_talks_without_end_is_ended(tmp_path: Path):
    program = "while True: write(b'{\"type\":\"log\"}' + b' ' * 65536 + b'\\n')"
    async with Scene(tmp_path, max_event_bytes=4 << 20) as scene:
        row = await scene.settled(scene.submit(program, request=limits()))
        assert (row.state, row.reason_code, row.attempt) == ("failed", "quota_exceeded", 1)


@in_a_loop
async def test_a_worker_lost_while_no_service_ran_is_followed_by_another(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(LOST_ONCE.replace("epoch(3); die()", "epoch(3); gate('away'); die()"), request=limits())
        await scene.said(job_id, "epoch.completed", times=3)
    open_gate(tmp_path / "jobs" / job_id / "away")
    with (tmp_path / "jobs" / job_id / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    async with Scene(tmp_path) as scene:
        row = await scene.settled(job_id)
        assert (row.state, row.attempt) == ("succeeded", 2)
