"""The service that lives as long as a command, and ``serve``: real processes, real workers, the scikit-learn engine."""

import fcntl
import json
import os
import signal
from pathlib import Path

import pytest

from app.cli.embedded import Host
from app.cli.exits import CommandError, Unreachable
from app.supervision.payload import check
from tests.app.cli.command import RunningService, Started, command, write_request

MODEL = "from sklearn.dummy import DummyClassifier\n\n\ndef build_model():\n{wait}    return DummyClassifier()\n"
QUICK = MODEL.format(wait="")
WAITING = MODEL.format(wait="    open('go').read()\n")


def write_work(folder: Path, model: str) -> Path:
    request = write_request(folder, model, trackingConfig={"mlflow": False}, engine=None)
    (folder / "table.csv").write_text("x,y\n" + "".join(f"{number},{number % 2}\n" for number in range(40)))
    return request


def wait_until_no_service_holds(home: Path) -> None:
    """The kernel says so, by the service's lock."""
    with (home / "service.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def test_run_brings_a_service_and_takes_it_away(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ended = command(home, "run", str(write_work(tmp_path, QUICK)), PT_WORKSPACE=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert check(json.loads(ended.stdout)) == []
    assert "pytorch-trainer serve" in ended.stderr.splitlines()[-1]
    wait_until_no_service_holds(home)
    assert not (home / "service.json").exists()


def test_a_killed_run_takes_its_service_along_and_the_next_one_adopts_the_training(tmp_path: Path) -> None:
    home, request = tmp_path / "home", write_work(tmp_path, WAITING)
    os.mkfifo(tmp_path / "go")
    with Started(home, "run", str(request), PT_WORKSPACE=str(tmp_path)) as run:
        job_id = run.until("job_").split()[0]
        run.until("worker ")
        run.interrupt(signal.SIGKILL)
        assert run.end()[0] == -signal.SIGKILL
    wait_until_no_service_holds(home)
    with Started(home, "serve", "--workspace", str(tmp_path), "--port", "0", "--json") as serve:
        assert serve.process.stdout is not None
        facts = json.loads(serve.process.stdout.readline())
        assert Path(facts["tokenPath"]).exists()
        (tmp_path / "go").write_text("go")
        settled = command(home, "wait", job_id, PT_URL=facts["url"])
        serve.interrupt()
        assert serve.end()[0] == 0
    assert settled.returncode == 0, settled.stderr
    assert json.loads(settled.stdout)["status"] == "success"


def test_a_second_service_on_the_same_home_is_refused(tmp_path: Path) -> None:
    with RunningService(tmp_path / "home", tmp_path) as running:
        ended = command(tmp_path / "home", "serve", "--port", "0")
        assert ended.returncode == 2
        assert running.url in ended.stderr


def test_a_service_that_cannot_start_says_why_in_what_run_prints(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "pytorch-trainer.db").write_text("this is no database")
    ended = command(home, "run", str(write_work(tmp_path, QUICK)), PT_WORKSPACE=str(tmp_path))
    assert ended.returncode == 5
    assert "could not be started" in ended.stderr
    assert "not a database" in ended.stderr


def test_a_service_that_works_elsewhere_is_not_mistaken_for_the_one_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PT_HOME", str(tmp_path / "home"))
    wrong = f"works in {tmp_path}, and this needs one that works in /elsewhere"
    with RunningService(tmp_path / "home", tmp_path), pytest.raises(CommandError, match=wrong):
        Host({"PT_WORKSPACE": "/elsewhere"}).line()


def test_a_command_starts_a_service_when_the_one_it_spoke_to_stays_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PT_HOME", str(tmp_path / "home"))
    with Host({"PT_WORKSPACE": str(tmp_path)}) as host:
        with RunningService(tmp_path / "home", tmp_path) as running:
            assert host.line().client.address.url == running.url
            assert not host.embedded
        with pytest.raises(Unreachable):
            host.connect(0.0)
        assert host.connect(60.0).capabilities()["workspace"] == str(tmp_path)
        assert host.embedded
    wait_until_no_service_holds(tmp_path / "home")
