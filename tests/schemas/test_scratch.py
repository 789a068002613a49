"""The way to a scratch folder, however deep it lies, leaves room for sockets, and ends with the folder."""

import socket
from pathlib import Path

import pytest

from schemas.scratch import lay_way, remove_scratch


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A scratch folder of a home that lies deep."""
    scratch = tmp_path / ("a" * 60) / ("b" * 60) / "tmp"
    scratch.mkdir(parents=True)
    return scratch


def test_a_socket_as_multiprocessing_makes_them_finds_room(deep: Path):
    way = lay_way(deep)
    assert way.resolve() == deep.resolve()
    (deep / "pymp-abcdefgh").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        with pytest.raises(OSError, match="too long"):
            listening.bind(str(deep / "pymp-abcdefgh" / "listener-abcdefgh"))
        listening.bind(str(way / "pymp-abcdefgh" / "listener-abcdefgh"))
    remove_scratch(deep)
    assert not way.is_symlink()
    assert not deep.exists()


def test_a_short_one_is_its_own_way():
    assert lay_way(Path("/home/jobs/job_1/attempts/1/tmp")) == Path("/home/jobs/job_1/attempts/1/tmp")


def test_what_lies_in_the_way_is_neither_used_nor_removed(deep: Path, tmp_path: Path):
    way = lay_way(deep)
    way.unlink()
    way.symlink_to(tmp_path)
    try:
        assert lay_way(deep) == deep
        remove_scratch(deep)
        assert way.readlink() == tmp_path
    finally:
        way.unlink()
