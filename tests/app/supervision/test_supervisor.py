"""The supervisor, with real worker processes: order, devices, stops, crashes, and what workers write wrongly."""

import asyncio
import fcntl
import json
import logging
import os
from pathlib import Path

import pytest

from app.store.interface import IllegalTransition
from app.supervision.processes import marked
from tests.app.scene import LISTENS, PATIENT, Scene, in_a_loop, request

WHOLE = "epoch(1); say('run.finalizing', epochsTrained=1, seconds=0.5); end('succeeded')"
SAVES_WHEN_ASKED = f"""
def save(*_):
    say('checkpoint.saved', path='/run/last', kind='cancel', epoch=1, step=3, bytes=1, sha256='')
    end(json.loads((folder / 'stop.json').read_text())['reason'].replace('timeout', 'failed'))
    os._exit(0)
signal.signal(signal.SIGTERM, save)
{LISTENS}
epoch(1)
while True: signal.pause()
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); hide_a_child(); epoch(1)\nwhile True: signal.pause()"


def assert_nothing_is_left(scene: Scene, job_id: str, attempt: int = 1) -> None:
    assert marked(f"PYTORCH_TRAINER_ATTEMPT={scene.attempt(job_id, attempt)}") == []
    with (scene.settings.jobs / job_id / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@in_a_loop
async def test_a_job_goes_from_the_queue_to_its_payload(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(WHOLE)
        row = await scene.settled(job_id)
        assert (row.state, row.attempt, row.reason_code) == ("succeeded", 1, None)
        assert row.payload is not None
        assert (row.payload["status"], row.payload["metrics"]["trainingTime"]) == ("success", 0.5)
        assert [event.type for event in scene.events(job_id)] == [
            "job.queued",
            "epoch.started",
            "epoch.completed",
            "run.finalizing",
            "job.completed",
        ]
        assert_nothing_is_left(scene, job_id)


@in_a_loop
async def test_the_assignment_is_whole_and_absolute(tmp_path: Path):
    async with Scene(tmp_path, mlflow_uri="sqlite:///m.db") as scene:
        asked = request(checkpointConfig={"saveDir": "/elsewhere"}, trainingConfig={"epochs": 3})
        own, elsewhere = scene.submit(WHOLE), scene.submit(WHOLE, request=asked, git_commit="abc")
        for job_id, run_folder in ((own, tmp_path / "jobs" / own / "run"), (elsewhere, Path("/elsewhere", elsewhere))):
            await scene.settled(job_id)
            folder = scene.attempt(job_id)
            assignment = json.loads((folder / "assignment.json").read_text())
            assert assignment["runFolder"] == str(run_folder)
            assert assignment["attemptFolder"] == str(folder)
            assert assignment["modelSnapshot"] == str(folder.parents[1] / "model.py")
            assert (assignment["attempt"], assignment["devices"]) == (1, ["cpu"])
            assert assignment["mlflowUri"] == "sqlite:///m.db"
        assert assignment["request"]["trainingConfig"]["epochs"] == 3
        assert assignment["gitCommit"] == "abc"


@in_a_loop
async def test_a_worker_sees_no_secret_and_only_its_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("PT_TOKEN", "PYTHON_TOKEN", "AWS_SECRET_ACCESS_KEY", "LC_ALL", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "C")
    program = "say('log', level='info', stream='worker', text=json.dumps(dict(os.environ))); end('succeeded')"
    async with Scene(tmp_path, devices=("cuda:2", "cuda:5")) as scene:
        job_id = scene.submit(program, devices=2)
        seen = json.loads((await scene.said(job_id, "log")).data["text"].replace("\n", ""))
        assert {"PT_TOKEN", "PYTHON_TOKEN", "AWS_SECRET_ACCESS_KEY"}.isdisjoint(seen)
        assert (seen["CUDA_VISIBLE_DEVICES"], seen["LC_ALL"], seen["OMP_NUM_THREADS"]) == ("2,5", "C", "C")
        assert (await scene.settled(job_id)).assigned == ("cuda:2", "cuda:5")
        assignment = json.loads((scene.attempt(job_id) / "assignment.json").read_text())
        assert assignment["devices"] == ["cuda:0", "cuda:1"]


@in_a_loop
async def test_jobs_begin_in_order_as_slots_are_free(tmp_path: Path):
    async with Scene(tmp_path, slots=2) as scene:
        first, second, third = (scene.submit(f"epoch(1); gate('go'); {WHOLE}", devices=3) for _ in range(3))
        await scene.said(first, "epoch.started")
        await scene.said(second, "epoch.started")
        assert scene.row(second).assigned == ("cpu",) * 3
        assert scene.row(third).state == "queued"
        await scene.open_gate(second, "go")
        await scene.settled(second)
        await scene.said(third, "epoch.started")
        await scene.open_gate(first, "go")
        await scene.open_gate(third, "go")
        assert (await scene.settled(first)).state == (await scene.settled(third)).state == "succeeded"


@in_a_loop
async def test_a_job_that_asks_for_many_devices_is_not_overtaken(tmp_path: Path):
    async with Scene(tmp_path, devices=("cuda:0", "cuda:1")) as scene:
        one = scene.submit(f"epoch(1); gate('go'); {WHOLE}")
        both = scene.submit(f"epoch(1); gate('go'); {WHOLE}", devices=2)
        late = scene.submit(WHOLE)
        await scene.said(one, "epoch.started")
        assert (scene.row(both).state, scene.row(late).state) == ("queued", "queued")
        await scene.open_gate(one, "go")
        await scene.said(both, "epoch.started")
        assert scene.row(both).assigned == ("cuda:0", "cuda:1")
        assert scene.row(late).state == "queued"
        await scene.open_gate(both, "go")
        assert (await scene.settled(late)).state == "succeeded"


@in_a_loop
async def test_a_job_that_uses_no_gpu_neither_takes_one_nor_waits_for_one(tmp_path: Path):
    async with Scene(tmp_path, devices=("cuda:0",)) as scene:
        network = scene.submit(f"epoch(1); gate('go'); {WHOLE}")
        waits = scene.submit(WHOLE)
        forest = scene.submit(f"epoch(1); gate('go'); {WHOLE}", engine="sklearn")
        next_forest = scene.submit(WHOLE, engine="sklearn")
        await scene.said(forest, "epoch.started")
        assert scene.row(forest).assigned == ("cpu",)
        assert {scene.row(job_id).state for job_id in (waits, next_forest)} == {"queued"}
        await scene.open_gate(forest, "go")
        assert (await scene.settled(next_forest)).assigned == ("cpu",)
        assert scene.row(waits).state == "queued"
        await scene.open_gate(network, "go")
        assert (await scene.settled(waits)).assigned == ("cuda:0",)


@in_a_loop
async def test_more_devices_than_there_are_fail_with_the_fix(tmp_path: Path):
    async with Scene(tmp_path, devices=("cuda:0", "cuda:1")) as scene:
        job_id = scene.submit(WHOLE, devices=3)
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.reason_code, row.attempt) == ("failed", "device_unavailable", 0)
        assert row.payload["error"]["fix"] == [{"op": "replace", "path": "/trainingConfig/devices", "value": 2}]


@in_a_loop
async def test_a_queued_job_is_cancelled_at_once(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        runs = scene.submit("epoch(1); gate('go'); end('succeeded')")
        waits = scene.submit(WHOLE)
        await scene.said(runs, "epoch.started")
        await scene.supervisor.cancel(waits)
        await scene.supervisor.cancel(waits)
        row = await scene.settled(waits)
        assert row.payload is not None
        assert (row.state, row.attempt) == ("cancelled", 0)
        assert (row.payload["error"]["code"], row.payload["checkpointPath"]) == ("cancelled", "")
        await scene.open_gate(runs, "go")
        await scene.settled(runs)
        with pytest.raises(IllegalTransition):
            await scene.supervisor.cancel(runs)
        with pytest.raises(LookupError, match="job_unknown"):
            await scene.supervisor.cancel("job_unknown")


@in_a_loop
async def test_a_cancelled_worker_saves_and_its_last_words_count(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(SAVES_WHEN_ASKED)
        await scene.said(job_id, "epoch.completed")
        await asyncio.gather(*(scene.supervisor.cancel(job_id) for _ in range(3)))
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.payload["error"]["code"], row.payload["checkpointPath"]) == (
            "cancelled",
            "cancelled",
            "/run/last",
        )
        types = [event.type for event in scene.events(job_id)]
        assert types.count("job.cancelling") == 1
        assert types[-2:] == ["checkpoint.saved", "job.completed"]


@in_a_loop
async def test_a_worker_that_ignores_the_cancel_is_killed_with_all_its_processes(tmp_path: Path):
    async with Scene(tmp_path, cancel_grace_seconds=0.2) as scene:
        job_id = scene.submit(DEAF)
        await scene.said(job_id, "epoch.completed")
        await scene.supervisor.cancel(job_id)
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert (row.state, row.payload["error"]["code"]) == ("cancelled", "cancelled")
        assert row.payload["metrics"]["epochsTrained"] == 1
        assert_nothing_is_left(scene, job_id)


@in_a_loop
async def test_a_cancel_while_the_worker_is_being_started_is_heeded(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit("gate('never')")
        await scene.until(job_id, lambda row: row.state == "preparing")
        await scene.supervisor.cancel(job_id)
        assert (await scene.settled(job_id)).state == "cancelled"
        assert_nothing_is_left(scene, job_id)


@in_a_loop
async def test_a_cancel_that_comes_too_late_ends_as_the_run_ended(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        program = "signal.signal(signal.SIGTERM, signal.SIG_IGN); epoch(1); gate('go'); epoch(2); end('succeeded')"
        job_id = scene.submit(program)
        await scene.said(job_id, "epoch.completed")
        await scene.supervisor.cancel(job_id)
        await scene.open_gate(job_id, "go")
        row = await scene.settled(job_id)
        assert (row.state, row.reason_code) == ("succeeded", None)


@pytest.mark.parametrize("program", [SAVES_WHEN_ASKED, DEAF], ids=["saves", "deaf"])
@in_a_loop
async def test_a_job_ends_at_its_limit(tmp_path: Path, program: str):
    grace = 60.0 if program == SAVES_WHEN_ASKED else 0.2
    async with Scene(tmp_path, PATIENT, cancel_grace_seconds=grace) as scene:
        job_id = scene.submit(program, request=request(limits={"maxSeconds": 0.5}))
        row = await scene.settled(job_id)
        assert row.payload is not None
        assert row.state == "failed"
        assert json.loads((scene.attempt(job_id) / "stop.json").read_text()) == {"reason": "timeout"}
        if program == SAVES_WHEN_ASKED:
            assert row.payload["checkpointPath"] == "/run/last"
        else:
            assert row.payload["error"]["code"] == "timeout"
            assert "limits.maxSeconds (0.5 s)" in row.payload["error"]["message"]
        assert_nothing_is_left(scene, job_id)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL; the kernel's out-of-memory killer"),
        ("print('lost', end=''); os.abort()", "killed by SIGABRT"),
        ("raise SystemExit(7)", "exit code 7"),
        ("raise RuntimeError('lost \\x1b[31mit')", "exit code 1"),
    ],
    ids=["killed", "aborted", "exited", "raised"],
)
@in_a_loop
async def test_a_worker_that_dies_is_lost_and_the_reason_is_told(tmp_path: Path, program: str, words: str):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(f"hide_a_child(); epoch(1); {program}")
        row = await scene.settled(job_id)
        assert row.payload is not None
        error = row.payload["error"]
        assert (row.state, error["code"], error["retryable"]) == ("failed", "worker_lost", True)
        assert words in error["message"]
        if "abort" in program:
            assert "lost" in error["untrusted"]
            assert "Fatal Python error: Aborted" in error["untrusted"]
        if "RuntimeError" in program:
            assert error["untrusted"].rstrip().endswith("RuntimeError: lost it")
        assert row.payload["learningCurve"] == [{"epoch": 1, "trainLoss": 1.0, "metrics": {}}]
        assert_nothing_is_left(scene, job_id)


@in_a_loop
async def test_what_an_ended_worker_leaves_behind_is_killed(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(f"hide_a_child(); os.fork() or signal.pause(); {WHOLE}")
        assert (await scene.settled(job_id)).state == "succeeded"
        assert_nothing_is_left(scene, job_id)


@in_a_loop
async def test_bad_lines_are_told_and_do_no_harm(tmp_path: Path):
    program = r"""
write(b'no json\n')
write(b'{"type": "step", "time": "now", "data": {"loss": NaN}}\n')
write(b'\xff\xfe\n\n')
write(b'{"type":"epoch.started","time":"2026-01-01T00:00:00Z"')
gate('half')
write(b',"data":{"epoch":1,"epochs":1,"steps":1}}\n')
gate('whole')
end('succeeded')
write(b'{"type":"epoch.star')
"""
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(program)
        await scene.said(job_id, "log", times=4)
        await scene.open_gate(job_id, "half")
        await scene.said(job_id, "epoch.started")
        assert scene.row(job_id).state == "running"
        await scene.open_gate(job_id, "whole")
        assert (await scene.settled(job_id)).state == "succeeded"
        assert "torn; its 19 bytes" in [event for event in scene.events(job_id) if event.type == "log"][-1].data["text"]


@in_a_loop
async def test_an_outcome_that_cannot_be_read_fails_the_job(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit("(folder / 'outcome.json').write_text('{\"state\": \"glorious\"}')")
        row = await scene.settled(job_id)
        assert (row.state, row.reason_code) == ("failed", "internal")


@in_a_loop
async def test_a_worker_that_cannot_be_started_fails_its_job_and_the_next_one_runs(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        (scene.settings.jobs).mkdir()
        broken = scene.submit(WHOLE, job_id="job_broken")
        (scene.settings.jobs / broken / "attempts").write_text("in the way")
        row = await scene.settled(broken)
        assert row.payload is not None
        assert (row.state, row.reason_code) == ("failed", "internal")
        assert "Not a directory" in row.payload["error"]["message"] or "File exists" in row.payload["error"]["message"]
        assert (await scene.settled(scene.submit(WHOLE))).state == "succeeded"


class Listener(logging.Handler):
    """Hears what the service logs."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self.heard = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._words in record.getMessage():
            self.heard.set()


@in_a_loop
async def test_a_full_disk_delays_the_events_and_loses_none(tmp_path: Path):
    listener = Listener("events wait")
    logging.getLogger("app.supervision.attempt").addHandler(listener)
    async with Scene(tmp_path) as scene:
        job_id = scene.submit("gate('go'); [epoch(n) for n in range(1, 200)]; gate('end'); end('succeeded')")
        await scene.until(job_id, lambda row: row.state == "preparing")
        writer = scene.store._database._writer
        with scene.store._database.writing():
            writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
        await scene.open_gate(job_id, "go")
        await asyncio.wait_for(listener.heard.wait(), 20)
        assert len(scene.events(job_id)) < 200
        with scene.store._database.writing():
            writer.execute("PRAGMA max_page_count = 1000000")
        await scene.open_gate(job_id, "end")
        assert (await scene.settled(job_id)).state == "succeeded"
        assert [event.type for event in scene.events(job_id)].count("epoch.completed") == 199
    logging.getLogger("app.supervision.attempt").removeHandler(listener)


@in_a_loop
async def test_a_second_worker_of_a_job_is_never_started(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit("gate('never')")
        folder = scene.settings.jobs / job_id
        with (folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            row = await scene.settled(job_id)
        assert row.payload is not None
        assert "another worker of this job is alive" in row.payload["error"]["message"]
        assert not os.path.exists(folder / "attempts" / "1" / "worker.pid")
