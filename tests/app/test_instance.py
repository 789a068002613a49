"""The service as a process: one per home, quiet on standard output, gone in good order, and light."""

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from app.instance import AlreadyRunning, Instance
from app.store.sqlite import SqliteStore

WAIT_FOR_FILE = 30


@contextmanager
def process(home: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m app.main`` on ``home``, killed at the end if it still lives."""
    settings = {"PT_HOME": str(home), "PT_WORKSPACE": str(home.parent), "PT_PORT": "0", "PT_DEVICES": "cpu"}
    child = subprocess.Popen(
        [sys.executable, "-m", "app.main"],
        env={**os.environ, **settings, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def until_it_listens(child: subprocess.Popen[str]) -> None:
    """Read the log of ``child`` up to its first word after the start."""
    assert child.stderr is not None
    for line in child.stderr:
        if "Listening on" in line:
            return
    raise AssertionError("the service ended before it listened")


def test_a_service_says_where_it_listens_and_takes_it_back_when_it_is_told_to_end(tmp_path: Path):
    home = tmp_path / "home"
    with process(home) as child:
        until_it_listens(child)
        said = json.loads((home / "service.json").read_text())
        assert said["pid"] == child.pid
        assert httpx.get(f"{said['url']}/healthz", trust_env=False).json()["status"] == "ok"
        with process(home) as second:
            _, complaint = second.communicate(timeout=60)
            assert second.returncode == 1
            assert said["url"] in complaint
            assert str(child.pid) in complaint
        child.send_signal(signal.SIGTERM)
        output, _ = child.communicate(timeout=60)
        assert (child.returncode, output) == (0, "")
        assert not (home / "service.json").exists()
        assert (home / "service.lock").exists()


def test_a_service_that_was_killed_leaves_its_home_free(tmp_path: Path):
    home = tmp_path / "home"
    with process(home) as child:
        until_it_listens(child)
        child.kill()
        child.wait(60)
    assert (home / "service.json").exists()
    with Instance(home):
        assert not (home / "service.json").exists()


def test_a_home_has_one_service(tmp_path: Path):
    with Instance(tmp_path) as first:
        first.announce("http://127.0.0.1:1")
        with pytest.raises(AlreadyRunning, match=r"http://127\.0\.0\.1:1"), Instance(tmp_path):
            pass
    with Instance(tmp_path):
        pass


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [({"PT_PORT": "x"}, "PT_PORT"), ({"PT_HOST": "203.0.113.1"}, "Cannot listen on 203.0.113.1")],
)
def test_a_service_that_cannot_start_says_why(tmp_path: Path, environment: dict[str, str], complaint: str):
    with process(tmp_path / "home", **environment) as child:
        output, said = child.communicate(timeout=60)
        assert child.returncode == 1
        assert complaint in said
        assert "Traceback" not in said
        assert output == ""


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        ("PRAGMA user_version = 99", "schema version 99"),
        (None, "it is no file"),
    ],
)
def test_a_database_of_no_use_is_one_plain_line(tmp_path: Path, spoil: str | None, complaint: str):
    path = tmp_path / "home" / "pytorch-trainer.db"
    if spoil is None:
        path.mkdir(parents=True)
    else:
        SqliteStore(path).close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(spoil)
    with process(tmp_path / "home") as child:
        output, said = child.communicate(timeout=60)
    assert (child.returncode, output) == (1, "")
    assert complaint in said
    assert "set PT_HOME" in said
    assert len(said.splitlines()) == 1


def test_a_database_that_is_damaged_within_is_named_in_one_plain_line(tmp_path: Path):
    home = tmp_path / "home"
    path = home / "pytorch-trainer.db"
    SqliteStore(path).close()
    with path.open("r+b") as file:
        # The first page has the schema; all that is read at the start lies behind it.
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with process(home) as child:
        output, said = child.communicate(timeout=60)
    assert (child.returncode, output) == (1, "")
    assert f"The database {path} is damaged" in said
    assert "set PT_HOME" in said
    assert len(said.splitlines()) == 1


def test_a_database_that_may_not_be_written_is_named_with_the_next_move(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    # Of the kernel's, which not even root may write.
    (home / "pytorch-trainer.db").symlink_to("/proc/version")
    with process(home) as child:
        _, said = child.communicate(timeout=60)
    assert child.returncode == 1
    assert f"{home / 'pytorch-trainer.db'} cannot be used as the database" in said
    assert "set PT_HOME" in said
    assert len(said.splitlines()) == 1


def test_a_workspace_that_is_not_there_is_named(tmp_path: Path):
    with process(tmp_path / "home", PT_WORKSPACE=str(tmp_path / "nowhere")) as child:
        _, said = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "nowhere is no folder" in said
    assert len(said.splitlines()) == 1


def test_a_home_that_cannot_be_is_named_with_the_next_move(tmp_path: Path):
    (tmp_path / "home").write_text("a file")
    with process(tmp_path / "home") as child:
        _, said = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "cannot be the data folder" in said
    assert "Set PT_HOME" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("left", [b"[]", b"null", b"\xff", b"{}", b""])
def test_a_spoilt_note_of_the_other_service_does_not_hide_it(tmp_path: Path, left: bytes):
    with Instance(tmp_path):
        (tmp_path / "service.json").write_bytes(left)
        with pytest.raises(AlreadyRunning, match="already"), Instance(tmp_path):
            pass


def test_the_service_loads_no_library_of_the_worker():
    program = "import app.main, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "pandas", "pyarrow", "sklearn", "mlflow", "PIL", "safetensors", "trainer_core"}
    assert heavy.isdisjoint(done.stdout.split())


def test_a_database_of_another_kind_is_left_alone_and_named(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "pytorch-trainer.db").write_bytes(b"this is no database, and somebody may need it" * 100)
    with process(home) as child:
        output, said = child.communicate(timeout=60)
    assert (child.returncode, output) == (1, "")
    assert "is not a database" in said
    assert "set PT_HOME" in said
    assert "Traceback" not in said
    assert not (home / "service.json").exists()
    assert (home / "pytorch-trainer.db").read_bytes().startswith(b"this is no database")


def test_what_a_killed_service_was_just_starting_keeps_the_home_for_a_moment_only(tmp_path: Path):
    lock = os.open(tmp_path / "service.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # The announcement of a service that is no more.
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    note = json.dumps({"url": "http://127.0.0.1:1", "pid": ended.pid})
    os.mkfifo(tmp_path / "service.json")

    def let_go() -> None:
        # Opened when somebody looks who has the lock; read to its end when nobody has it any more.
        with (tmp_path / "service.json").open("w") as file:
            os.close(lock)
            file.write(note)

    letting_go = threading.Thread(target=let_go)
    letting_go.start()
    with Instance(tmp_path), pytest.raises(AlreadyRunning), Instance(tmp_path):
        pass
    letting_go.join()
