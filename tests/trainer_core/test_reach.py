"""What a guarded worker reaches when its data and the service's own folder lie in one another."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

import schemas
import trainer_core
from schemas.assignment import Assignment
from trainer_core.guard.reach import Reach, around


def assignment(workspace: Path, home: Path, **sections: object) -> Assignment:
    job = home / "jobs/job_1"
    request = {"modelPath": "/m.py", "dataConfig": {"trainPath": "/t.csv"}, "trainingConfig": {}, **sections}
    return Assignment.model_validate(
        {
            "jobId": "job_1",
            "attempt": 1,
            "request": request,
            "engine": "native",
            "workspace": str(workspace),
            "modelSnapshot": str(job / "model.py"),
            "modelSha256": "0",
            "jobFolder": str(job),
            "attemptFolder": str(job / "attempts/1"),
            "runFolder": str(job / "run"),
            "devices": ["cpu"],
            "home": str(home),
            "readable": ["/shared/weights"],
        }
    )


def tree(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_hole_is_gone_around_and_what_is_beside_it_stays(tmp_path: Path):
    folder = tree(tmp_path, "data/t.csv", "m.py", "share/mine/home/token", "share/other")
    assert list(around(folder, folder / "share/mine/home")) == [
        folder / "data",
        folder / "m.py",
        folder / "share/other",
    ]
    assert list(around(folder / "data", folder / "share")) == [folder / "data"]
    assert list(around(folder, folder)) == []


def test_a_service_whose_folder_lies_in_the_workspace_is_not_read(tmp_path: Path):
    workspace = tree(
        tmp_path, "data/t.csv", ".service/token", ".service/jobs/job_1/model.py", ".service/jobs/job_2/model.py"
    )
    home = workspace / ".service"
    reach = Reach.of(assignment(workspace, home))
    readable = (*reach.python, *reach.data)
    assert workspace / "data" in readable
    assert home / "jobs/job_1" in readable
    assert Path("/shared/weights") in readable
    for secret in (home / "token", home / "jobs/job_2/model.py"):
        assert not any(secret.is_relative_to(folder) for folder in (*readable, *reach.writable))
    assert set(reach.writable) == {home / "jobs/job_1/attempts/1", home / "jobs/job_1/run"}


def test_a_workspace_in_the_services_folder_is_read(tmp_path: Path):
    home = tree(tmp_path, "token", "workspace/t.csv")
    reach = Reach.of(assignment(home / "workspace", home))
    assert home / "workspace" in reach.data
    assert not any((home / "token").is_relative_to(folder) for folder in (*reach.python, *reach.data))


def test_what_a_request_names_of_other_jobs_is_read(tmp_path: Path):
    home = tree(tmp_path / "home", "jobs/job_0/run/best")
    weights = {"weights": str(home / "jobs/job_0/run/step-1/model.safetensors")}
    resumed = {"resumeFrom": str(home / "jobs/job_0/run/best")}
    reach = Reach.of(assignment(tmp_path / "workspace", home, modelConfig=weights, checkpointConfig=resumed))
    assert {home / "jobs/job_0/run", home / "jobs/job_0/run/step-1/model.safetensors"} <= set(reach.data)
    assert home / "jobs/job_0" not in reach.data


def test_with_a_checkpoint_its_whole_run_is_read(tmp_path: Path):
    home = tree(tmp_path / "home", "jobs/job_0/run/step-1/manifest.json")
    resumed = {"resumeFrom": str(home / "jobs/job_0/run/step-1")}
    reach = Reach.of(assignment(tmp_path / "workspace", home, checkpointConfig=resumed))
    assert home / "jobs/job_0/run" in reach.data
    assert home / "jobs/job_0" not in reach.data


def test_what_is_installed_in_place_is_read_though_it_lies_on_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``pip install -e`` leaves a finder that knows where a package lies; ours may be installed so, and the user's."""
    finder = ModuleType("__editable___theirs_1_0_finder")
    finder.MAPPING = {"theirs": str(tmp_path / "src/theirs")}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    root = str(Path(__file__).parents[2])
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", root)])
    readable = Reach.of(assignment(tmp_path / "workspace", tmp_path / "home")).python
    assert tmp_path / "src/theirs" in readable
    for package in (schemas, trainer_core):
        assert any(Path(package.__path__[0]).is_relative_to(folder) for folder in readable)
