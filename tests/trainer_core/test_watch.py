"""What a warden counts: the processes that came from it, and what they hold together."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas import isolation
from trainer_core.guard import watch
from trainer_core.guard.tree import Tree, shared_fairly
from trainer_core.guard.watch import Watch, size_of

MEBIBYTE = 1 << 20
WAITS = "import sys; print(flush=True); sys.stdin.read()"


@contextmanager
def forked(count: int) -> Iterator[list[int]]:
    """Children that share this process's memory and wait for the end."""
    reading, writing = os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        children.append(child)
    try:
        yield children
    finally:
        os.close(writing)
        os.close(reading)
        for child in children:
            os.waitpid(child, 0)


def test_memory_that_processes_share_is_counted_once():
    held = b"x" * (100 * MEBIBYTE)
    with forked(4) as children:
        members = [member for member in Tree().look() if member.pid in children]
        assert len(members) == 4
        assert sum(member.resident for member in members) > 4 * len(held)
        assert len(held) < shared_fairly(members) < 1.5 * max(member.resident for member in members)


def test_grandchildren_are_members_and_strangers_are_not():
    before = {member.pid for member in Tree().look()}
    with subprocess.Popen(
        [
            sys.executable,
            "-S",
            "-c",
            f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {WAITS!r}])",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        tree = Tree()
        members = {member.pid for member in tree.look()} - before
        assert child.pid in members
        assert len(members) >= 2
        assert {1, os.getpid(), os.getppid()}.isdisjoint(members)
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
    assert members.isdisjoint(member.pid for member in tree.look())


def test_bytes_on_disk_are_counted_and_links_are_not_followed(tmp_path: Path):
    (tmp_path / "run/deep").mkdir(parents=True)
    (tmp_path / "run/deep/file").write_bytes(b"x" * MEBIBYTE)
    (tmp_path / "elsewhere").write_bytes(b"x" * MEBIBYTE)
    (tmp_path / "run/link").symlink_to(tmp_path / "elsewhere")
    sparse = tmp_path / "run/sparse"
    sparse.touch()
    os.truncate(sparse, 1 << 40)
    assert MEBIBYTE <= size_of(tmp_path / "run") < MEBIBYTE + 65536


def test_without_bounds_nothing_is_too_much(tmp_path: Path):
    with forked(1):
        assert Watch({}, [tmp_path]).look() is None


def test_the_bounds_of_the_watch_are_those_of_the_schema():
    assert watch.THREADS_PER_PROCESS == isolation.THREADS_PER_PROCESS
