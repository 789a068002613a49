"""A full disk leaves whole lines only: half of one would swallow the next."""

import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.events import Log, RunFinalizing
from trainer_core.channel import LOG_LINES, FileChannel


@contextmanager
def small_files() -> Iterator[None]:
    """No file of this process grows beyond 400 bytes (a disk that is full answers with another number, at the same place).
    For as short as can be: what pytest writes of the test may go to a file, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_line_that_does_not_fit_leaves_no_part_of_itself(tmp_path: Path):
    channel = FileChannel(tmp_path / "events.jsonl")
    with small_files():
        channel.warn("short", "fits")
        with pytest.raises(OSError, match="too large"):
            channel.warn("long", "x" * 400)
        channel.warn("short", "fits")
    codes = [json.loads(line)["data"]["code"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert codes == ["short", "short"]


def test_of_a_flood_of_log_lines_the_first_are_kept_and_the_others_are_counted(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    channel = FileChannel(path)
    for number in range(LOG_LINES + 7):
        channel.emit(Log(level="info", stream="worker", text=str(number)))
    channel.emit(RunFinalizing(epochs_trained=1, seconds=1.0))
    channel.close()
    lines = path.read_text().splitlines()
    assert len(lines) == LOG_LINES + 2
    assert "run.finalizing" in lines[-2]
    assert "7 further log lines were left out" in lines[-1]
