"""The event file: whole lines only, in bounded pieces, and every byte accounted for."""

from pathlib import Path

import pytest

from app.supervision.event_file import has_more, read_lines
from schemas.events import Log, WorkerLine
from tests.app.scene import line

MEBIBYTE = 1 << 20


def said(text: str) -> bytes:
    return line(Log(level="info", stream="worker", text=text)).model_dump_json().encode() + b"\n"


def read_all(path: Path, *, ended: bool) -> tuple[list[WorkerLine], int, int]:
    """All lines, the offset after them, and the number of pieces."""
    lines: list[WorkerLine] = []
    offset = pieces = 0
    while True:
        found, after = read_lines(path, offset, ended=ended)
        if after == offset:
            return lines, offset, pieces
        assert after > offset
        lines, offset, pieces = lines + found, after, pieces + 1


def test_a_file_that_is_not_there_has_nothing(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    assert read_lines(path, 0, ended=True) == ([], 0)
    assert not has_more(path, 0)


def test_a_line_without_its_end_waits_for_it(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    whole = said("a")
    path.write_bytes(whole + said("b")[:10])
    lines, offset = read_lines(path, 0, ended=False)
    assert ([one.data["text"] for one in lines], offset) == (["a"], len(whole))
    assert read_lines(path, offset, ended=False) == ([], offset)
    assert has_more(path, offset)
    path.write_bytes(whole + said("b"))
    assert [one.data["text"] for one in read_lines(path, offset, ended=False)[0]] == ["b"]


def test_a_torn_last_line_is_told_once_its_writer_has_ended(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(said("a") + b"torn")
    lines, offset, _ = read_all(path, ended=True)
    assert [one.data["level"] for one in lines] == ["info", "warning"]
    assert "its 4 bytes" in lines[1].data["text"]
    assert offset == path.stat().st_size


def test_a_large_file_comes_in_pieces_and_whole(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    text = "ä" * 50_000
    path.write_bytes(said(text) * 30 + said("x" * (3 * MEBIBYTE)) + said(text) * 3)
    lines, offset, pieces = read_all(path, ended=False)
    assert [len(one.data["text"]) for one in lines] == [50_000] * 30 + [3 * MEBIBYTE] + [50_000] * 3
    assert (offset, pieces > 3) == (path.stat().st_size, True)


def test_a_line_without_bounds_is_left_out(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * (40 * MEBIBYTE) + b"\n" + said("after"))
    lines, offset, _ = read_all(path, ended=False)
    assert lines[-1].data["text"] == "after"
    assert {one.data["level"] for one in lines[:-1]} == {"warning"}
    assert (len(lines), offset) == (4, path.stat().st_size)


@pytest.mark.parametrize(
    "wrong",
    [b"", b"[]", b"{}", b'{"type":1}', b"\xff", b"[" * 100_000, b'{"type":"log","time":"t","data":{},"more":1}'],
    ids=["empty", "array", "object", "type", "bytes", "depth", "unknown key"],
)
def test_a_line_that_is_no_event_is_told(tmp_path: Path, wrong: bytes):
    path = tmp_path / "events.jsonl"
    path.write_bytes(wrong + b"\n" + said("next"))
    lines, _, _ = read_all(path, ended=False)
    assert [one.data["level"] for one in lines] == ["warning", "info"]
    assert "is no event and is left out: " in lines[0].data["text"]
    assert len(lines[0].data["text"]) < 600
