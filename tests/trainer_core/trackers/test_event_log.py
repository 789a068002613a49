"""Reading an event log while it is written."""

from schemas.assignment import EVENTS_FILE
from schemas.events import Log
from trainer_core.trackers.event_log import EventLog


def test_a_line_is_read_once_it_is_whole(tmp_path):
    line = b'{"type": "log", "time": "2026-01-01T00:00:00Z", "data": {}}\n'
    with (tmp_path / EVENTS_FILE).open("wb", buffering=0) as file:
        log = EventLog(tmp_path)
        assert log.read() == []
        file.write(line + line[:20])
        assert len(log.read()) == 1
        assert log.read() == []
        file.write(line[20:])
        assert len(log.read()) == 1
    assert log.read() == []


def test_a_log_of_many_megabytes_is_read_in_parts_that_lose_nothing(make_attempt):
    attempt = make_attempt()
    for number in range(60):
        attempt.say(Log(level="info", stream="stdout", text=f"{number} " + "x" * 50_000))
    log = EventLog(attempt.folder)
    parts = []
    while lines := log.read():
        parts.append(lines)
    assert [line.data["text"].split()[0] for lines in parts for line in lines] == [str(number) for number in range(60)]
    assert len(parts) > 2
