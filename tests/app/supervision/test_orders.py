"""Pause, resume and stop: what a client asks of a job that runs, with real workers."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from app.store.interface import IllegalTransition
from app.store.sqlite import SqliteStore
from app.supervision.orders import CANCEL, PAUSE, STOP, Order, write_down
from schemas.events import JobResumed
from tests.app.scene import Scene, in_a_loop, new_job, request
from tests.app.supervision.test_supervisor import DEAF, WHOLE, assert_nothing_is_left

# As the engines do it: saves when asked to stop, says why it stopped, and goes on from there.
OBEYS = """
say("job.started", pid=os.getpid(), engine="native", devices=["cpu"], versions={})
def save(*_):
    say("checkpoint.saved", path="/run/step-3", kind="cancel", epoch=1, step=3, bytes=1, sha256="")
    reason = json.loads((folder / "stop.json").read_text())["reason"]
    end({"paused": "paused", "stopped": "early_stopped", "cancelled": "cancelled"}[reason])
    os._exit(0)
signal.signal(signal.SIGTERM, save)
if assignment["attempt"] == 1:
    epoch(1); epoch(2)
    while True: signal.pause()
rows = [{"epoch": 1, "seconds": 2.0}]
say("run.restored", path="/run/step-3", epoch=1, step=3, history=rows)
epoch(2); gate("go"); say("run.finalizing", epochsTrained=2, seconds=1.0); end("succeeded")
"""
FAILS_TO_SAVE = OBEYS.replace('    say("checkpoint', '    os._exit(5)\n    say("checkpoint')


@in_a_loop
async def test_a_paused_job_frees_its_device_and_goes_on_where_it_was(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(OBEYS)
        await scene.said(job_id, "epoch.completed", times=2)
        await asyncio.gather(*(scene.supervisor.give(job_id, PAUSE) for _ in range(3)))
        paused = await scene.said(job_id, "job.paused")
        row = scene.row(job_id)
        assert (row.state, row.reason_code, row.assigned, row.payload) == ("paused", "paused", (), None)
        assert paused.data == {"fromCheckpoint": "/run/step-3"}
        assert_nothing_is_left(scene, job_id)
        assert (await scene.settled(scene.submit(WHOLE))).state == "succeeded"
        await asyncio.gather(*(scene.supervisor.resume(job_id) for _ in range(3)))
        await scene.open_gate(job_id, "go")
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.attempt, row.reason_code) == ("succeeded", 2, None)
        types = [event.type for event in scene.events(job_id)]
        assert [types.count(f"job.{kind}") for kind in ("pausing", "paused", "resumed")] == [1, 1, 1]
        assert [point["epoch"] for point in row.payload["learningCurve"]] == [1, 2]
        assert [(each["number"], each.get("ended")) for each in row.payload["attempts"]] == [(1, "paused"), (2, None)]


@in_a_loop
async def test_a_resume_that_comes_when_the_job_runs_again_puts_nothing_back(tmp_path: Path):
    """Two clients resume it: the second one has seen it paused, and is held up until it is claimed."""
    go = threading.Event()
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(OBEYS)
        await scene.said(job_id, "epoch.completed", times=2)
        await scene.supervisor.give(job_id, PAUSE)
        await scene.said(job_id, "job.paused")
        late = asyncio.create_task(scene.supervisor.resume(job_id))
        await asyncio.sleep(0)
        # It has asked for the job's state; behind that every thread of the supervisor is busy.
        busy = [scene.supervisor._executor.submit(go.wait) for _ in range(8)]
        while not all(each.running() for each in busy):
            await asyncio.sleep(0)
        scene.store.say(job_id, JobResumed(reason="asked"), state="queued")
        assert scene.store.claim(job_id, ("cpu",)) is not None
        go.set()
        await late
        assert scene.row(job_id).state == "preparing"
        assert [event.type for event in scene.events(job_id)].count("job.resumed") == 1


def test_a_pause_of_a_queued_job_that_has_been_claimed_meanwhile_waits_for_its_worker(tmp_path: Path):
    store = SqliteStore(tmp_path / "jobs.db")
    queued, _ = store.accept(new_job())
    assert store.claim(queued.job_id, ("cpu",)) is not None
    store.say(queued.job_id, PAUSE.event(reason="asked"), state="pausing")
    assert not write_down(store, queued, PAUSE)
    row = store.get(queued.job_id)
    store.close()
    assert row is not None
    assert row.state == "pausing"


@in_a_loop
async def test_one_that_could_not_save_is_never_paused(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(FAILS_TO_SAVE)
        await scene.said(job_id, "epoch.completed", times=2)
        await scene.supervisor.give(job_id, PAUSE)
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.reason_code) == ("failed", "worker_lost")
        assert "asked to pause and ended before it had saved: exit code 5" in row.payload["error"]["message"]
        assert "job.paused" not in [event.type for event in scene.events(job_id)]


@in_a_loop
async def test_one_that_could_not_save_is_tried_again_from_what_it_had(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(FAILS_TO_SAVE, request=request(limits={"maxAttempts": 2}))
        await scene.said(job_id, "epoch.completed", times=2)
        await scene.supervisor.give(job_id, PAUSE)
        await scene.open_gate(job_id, "go")
        row = await scene.settled(job_id)
        assert (row.state, row.attempt) == ("succeeded", 2)


@in_a_loop
async def test_a_queued_job_is_paused_at_once_and_keeps_its_place(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        runs = scene.submit("epoch(1); gate('go'); end('succeeded')")
        first, second = scene.submit(WHOLE), scene.submit("epoch(1); gate('go'); end('succeeded')")
        await scene.said(runs, "epoch.started")
        await scene.supervisor.give(first, PAUSE)
        assert scene.row(first).state == "paused"
        await scene.open_gate(runs, "go")
        await scene.said(second, "epoch.started")
        await scene.supervisor.give(first, CANCEL)
        row = await scene.settled(first)
        assert row.payload is not None
        assert (row.state, row.attempt) == ("cancelled", 0)
        assert "while it was paused" in row.payload["error"]["message"]
        with pytest.raises(IllegalTransition):
            await scene.supervisor.resume(first)
        await scene.open_gate(second, "go")
        await scene.settled(second)


@in_a_loop
async def test_what_a_stopped_job_has_trained_is_its_result(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(OBEYS)
        await scene.said(job_id, "epoch.completed", times=2)
        await asyncio.gather(*(scene.supervisor.give(job_id, STOP) for _ in range(3)))
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.payload["status"], row.payload["checkpointPath"]) == (
            "early_stopped",
            "early_stopped",
            "/run/step-3",
        )
        assert len(row.payload["learningCurve"]) == 2
        with pytest.raises(IllegalTransition):
            await scene.supervisor.give(job_id, STOP)


@in_a_loop
async def test_a_job_that_had_saved_nothing_has_no_result_when_it_is_stopped(tmp_path: Path):
    program = "signal.signal(signal.SIGTERM, lambda *_: (end('early_stopped'), os._exit(0)))\nepoch(1)\nsignal.pause()"
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(program)
        await scene.said(job_id, "epoch.completed")
        await scene.supervisor.give(job_id, STOP)
        assert (await scene.settled(job_id)).state == "cancelled"


@in_a_loop
async def test_a_cancel_overtakes_a_pause_that_is_not_obeyed(tmp_path: Path):
    async with Scene(tmp_path, cancel_grace_seconds=0.2) as scene:
        job_id = scene.submit(DEAF)
        await scene.said(job_id, "epoch.completed")
        await scene.supervisor.give(job_id, PAUSE)
        assert scene.row(job_id).state == "pausing"
        await scene.supervisor.give(job_id, CANCEL)
        assert (await scene.settled(job_id)).state == "cancelled"
        assert_nothing_is_left(scene, job_id)


@pytest.mark.parametrize("order", [STOP, CANCEL], ids=["stop", "cancel"])
@in_a_loop
async def test_an_export_of_what_a_stop_keeps_is_waited_for(tmp_path: Path, order: Order):
    """As long as it says that it goes on. A cancel does not wait."""
    program = """
import time
signal.signal(signal.SIGTERM, lambda *_: None)
epoch(1)
say('checkpoint.saved', path='/run/last', kind='cancel', epoch=1, step=1, bytes=1, sha256='0')
signal.pause()
began = time.monotonic()
while time.monotonic() - began < 1.0:
    say('export.progress', format='torch_export', stage='exporting', seconds=0.1)
    signal.sigtimedwait([], 0.02)
end('early_stopped')
"""
    async with Scene(tmp_path, cancel_grace_seconds=0.2) as scene:
        job_id = scene.submit(program)
        await scene.said(job_id, "checkpoint.saved")
        await scene.supervisor.give(job_id, order)
        row = await scene.settled(job_id)
        assert row.state == ("early_stopped" if order is STOP else "cancelled")
        assert (scene.attempt(job_id) / "outcome.json").exists() == (order is STOP)


@in_a_loop
async def test_a_pause_is_carried_on_by_the_next_service(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(OBEYS)
        await scene.said(job_id, "epoch.completed", times=2)
    # The service ended between writing the order down and giving it to the worker.
    unsupervised = Scene(tmp_path)
    unsupervised.store.say(job_id, PAUSE.event(reason="asked"), state="pausing", reason=("paused", "asked"))
    async with unsupervised as scene:
        await scene.said(job_id, "job.paused")
        assert scene.row(job_id).state == "paused"


@in_a_loop
async def test_a_worker_that_says_it_has_paused_unasked_has_failed(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        row = await scene.settled(scene.submit("epoch(1); end('paused')"))
        assert (row.state, row.reason_code) == ("failed", "internal")


@in_a_loop
async def test_a_job_pauses_with_another_node_of_its_run(tmp_path: Path):
    """Nobody asked this node: its worker says that another one was."""
    training = {"numNodes": 2, "rendezvous": {"endpoint": "127.0.0.1:29500", "nodeRank": 1}}
    program = "epoch(1)\nif assignment['attempt'] == 1: end('paused', askedElsewhere=True)\nelse: end('succeeded')"
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(program, request=request(trainingConfig=training))
        assert (await scene.said(job_id, "job.pausing")).data == {"reason": "Another node of the run was asked to."}
        await scene.said(job_id, "job.paused")
        assert scene.row(job_id).state == "paused"
        await scene.supervisor.resume(job_id)
        assert (await scene.settled(job_id)).state == "succeeded"


@in_a_loop
async def test_a_node_that_keeps_nothing_may_be_stopped_with_a_result(tmp_path: Path):
    training = {"numNodes": 2, "rendezvous": {"endpoint": "127.0.0.1:29500", "nodeRank": 1}}
    program = "signal.signal(signal.SIGTERM, lambda *_: (end('early_stopped'), os._exit(0)))\nepoch(1)\nsignal.pause()"
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(program, request=request(trainingConfig=training))
        await scene.said(job_id, "epoch.completed")
        await scene.supervisor.give(job_id, STOP)
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.payload["checkpointPath"]) == ("early_stopped", "")


@in_a_loop
async def test_a_paused_job_is_still_paused_when_another_service_starts(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(OBEYS)
        await scene.said(job_id, "epoch.completed", times=2)
        await scene.supervisor.give(job_id, PAUSE)
        await scene.said(job_id, "job.paused")
    async with Scene(tmp_path) as scene:
        assert (await scene.settled(scene.submit(WHOLE))).state == "succeeded"
        assert scene.row(job_id).state == "paused"
        await scene.supervisor.resume(job_id)
        await scene.open_gate(job_id, "go")
        assert (await scene.settled(job_id)).state == "succeeded"


@in_a_loop
async def test_an_order_that_comes_while_the_worker_ends_is_sent_to_nobody(tmp_path: Path):
    """The order is being written, into a pipe here, when the worker ends: the descriptor it was held by is let go."""
    async with Scene(tmp_path) as scene:
        job_id = scene.submit("epoch(1); gate('go'); end('succeeded')")
        await scene.said(job_id, "epoch.completed")
        pipe = scene.attempt(job_id) / "stop.json.tmp"
        os.mkfifo(pipe)
        cancelling = asyncio.create_task(scene.supervisor.cancel(job_id))
        await scene.said(job_id, "job.cancelling")
        await scene.open_gate(job_id, "go")
        assert (await scene.settled(job_id)).state == "succeeded"
        await asyncio.to_thread(pipe.read_bytes)
        await cancelling
