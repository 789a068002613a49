"""Workers that spoil what is theirs to write: every job has an end, and the service is none the worse for it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from app.store.bounds import TALK_BYTES
from app.supervision.attempt_folder import AttemptFolder
from app.supervision.processes import marked
from app.supervision.worker_process import WorkerProcess
from app.worker_log import KEPT_BYTES, LOG_BYTES, cut, is_too_long
from schemas.text import UNTRUSTED_LIMIT
from tests.app.scene import Scene, in_a_loop

EVENTS, OUTCOME = "folder / 'events.jsonl'", "folder / 'outcome.json'"
SPOILT = {
    "events are a pipe": f"os.mkfifo({EVENTS})",
    "events are a folder": f"os.mkdir({EVENTS})",
    "events are a device": f"os.symlink('/dev/zero', {EVENTS})",
    "events are a link to themselves": f"os.symlink('events.jsonl', {EVENTS})",
    "events vanish": "epoch(1); (folder / 'events.jsonl').unlink()",
    "events shrink": "epoch(1); os.truncate(folder / 'events.jsonl', 3)",
    "outcome is a pipe": f"os.mkfifo({OUTCOME})",
    "outcome is a folder": f"os.mkdir({OUTCOME})",
    "outcome is a device": f"os.symlink('/dev/zero', {OUTCOME})",
    "outcome is sparse": f"os.close(os.open({OUTCOME}, os.O_CREAT | os.O_WRONLY)); os.truncate({OUTCOME}, 1 << 40)",
    "outcome is no text": f"({OUTCOME}).write_bytes(bytes(range(256)))",
    "outcome is deep": f"({OUTCOME}).write_text('[' * 1_000_000)",
    "outcome has half a character": f'({OUTCOME}).write_bytes(b\'{{"state": "failed", "error": "\\\\\\\\ud800"}}\')',
    "log is a pipe": "(folder / 'worker.log').unlink(); os.mkfifo(folder / 'worker.log')",
    "folder is gone": "import shutil; shutil.rmtree(job)",
    "folder is a file": "import shutil; shutil.rmtree(job); job.write_text('')",
    "stop order is a folder": "os.mkdir(folder / 'stop.json')",
}


@pytest.mark.parametrize("program", SPOILT.values(), ids=SPOILT)
@in_a_loop
async def test_a_worker_that_spoils_its_folder_has_failed_and_the_next_job_runs(tmp_path: Path, program: str):
    async with Scene(tmp_path) as scene:
        row = await scene.settled(scene.submit(program))
        assert (row.state, row.reason_code) in (("failed", "worker_lost"), ("failed", "internal"))
        assert (await scene.settled(scene.submit("epoch(1); end('succeeded')"))).state == "succeeded"


@pytest.mark.parametrize("rest", ["shutil.rmtree(job)", "shutil.rmtree(job); job.write_text('')"])
@in_a_loop
async def test_a_worker_that_removed_its_folder_is_stopped_nevertheless(tmp_path: Path, rest: str):
    program = f"import shutil, time; epoch(1); gate('go'); {rest}; print(flush=True); signal.pause()"
    async with Scene(tmp_path, cancel_grace_seconds=0.2) as scene:
        job_id = scene.submit(program)
        await scene.said(job_id, "epoch.completed")
        await scene.open_gate(job_id, "go")
        async with asyncio.timeout(60):
            while scene.attempt(job_id).exists():
                await asyncio.sleep(0)
        await scene.supervisor.cancel(job_id)
        assert (await scene.settled(job_id)).state == "cancelled"
        assert marked(f"PYTORCH_TRAINER_ATTEMPT={scene.attempt(job_id)}") == []


@pytest.mark.parametrize("note", [b"", b"garbage", b"1", b"1 2 3", b"\xff\xff"])
@in_a_loop
async def test_a_worker_whose_note_is_spoilt_is_found_by_the_next_service(tmp_path: Path, note: bytes):
    async with Scene(tmp_path) as scene:
        job_id = scene.submit("epoch(1); gate('go'); end('succeeded')")
        await scene.said(job_id, "epoch.completed")
    (scene.attempt(job_id) / "worker.pid").write_bytes(note)
    async with Scene(tmp_path) as scene:
        await scene.open_gate(job_id, "go")
        assert (await scene.settled(job_id)).state == "succeeded"


def test_a_worker_that_cannot_be_noted_does_not_run(tmp_path: Path):
    folder = AttemptFolder(tmp_path, "job", 1)
    (folder.path / "worker.pid.tmp").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        WorkerProcess.spawn([sys.executable, "-S", "-c", "import signal; signal.pause()"], folder, {})
    assert marked(f"PYTORCH_TRAINER_ATTEMPT={folder.path}") == []


@in_a_loop
async def test_a_log_bomb_is_stored_in_part_and_hides_nothing_of_the_run(tmp_path: Path):
    program = """
line = json.dumps({"type": "log", "time": "2026-01-02T03:04:05Z",
                   "data": {"level": "info", "stream": "service", "text": "x" * 1_000_000}}).encode()
epoch(1)
for _ in range(40):
    write(line + b"\\n")
step = json.dumps({"type": "step", "time": "2026-01-02T03:04:05Z",
                   "data": {"epoch": 2, "step": 7, "totalSteps": 9}}).encode() + b"\\n"
write(step * 5000)
epoch(2)
end("succeeded")
"""
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(program)
        row = await scene.settled(job_id)
        assert row.state == "succeeded"
        assert row.payload is not None
        assert [point["epoch"] for point in row.payload["learningCurve"]] == [1, 2]
        events = scene.events(job_id)
        logs = [event.data for event in events if event.type == "log"]
        assert TALK_BYTES // 1_000_000 - 1 <= len(logs) <= TALK_BYTES // 1_000_000 + 2
        assert all(len(log["text"]) <= UNTRUSTED_LIMIT for log in logs)
        assert [log["stream"] for log in logs] == ["worker"] * (len(logs) - 1) + ["service"]
        assert "left out" in logs[-1]["text"]
        assert 1 <= sum(event.type == "step" for event in events) < 100
        assert scene.settings.database.stat().st_size < 1 << 20


def test_a_log_that_has_grown_too_long_is_cut_to_its_end_and_goes_on(tmp_path: Path):
    log = tmp_path / "worker.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"first\n")
        assert not is_too_long(log)
        os.truncate(log, LOG_BYTES)
        writer.write(b"before\n")
        assert is_too_long(log)
        cut(log)
        writer.write(b"after\n")
    lines = log.read_bytes().split(b"\n")
    assert lines[0].startswith(b"[earlier output was dropped")
    assert lines[1].endswith(b"before")
    assert lines[2] == b"after"
    assert log.stat().st_size < KEPT_BYTES + 200


@in_a_loop
async def test_the_log_of_a_worker_that_prints_without_end_is_cut_while_it_runs(tmp_path: Path):
    prints = f"""
os.ftruncate(1, {LOG_BYTES})
print("the end of it", flush=True)
while os.fstat(1).st_size > {2 * KEPT_BYTES}: pass
end("succeeded")
"""
    async with Scene(tmp_path) as scene:
        job_id = scene.submit(prints)
        assert (await scene.settled(job_id)).state == "succeeded"
        assert b"the end of it" in (scene.attempt(job_id) / "worker.log").read_bytes()


def test_a_log_that_leads_elsewhere_is_left_alone(tmp_path: Path):
    elsewhere = tmp_path / "precious"
    elsewhere.touch()
    os.truncate(elsewhere, LOG_BYTES + 1)
    (tmp_path / "worker.log").symlink_to(elsewhere)
    assert not is_too_long(tmp_path / "worker.log")
    cut(tmp_path / "worker.log")
    assert elsewhere.stat().st_size == LOG_BYTES + 1
