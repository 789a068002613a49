"""``resumeFrom: "latest"``: the service names at acceptance the run that a worker would have found."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.gate.gate import Gate
from app.gate.newest_run import newest_run
from app.planning import plan_of
from app.settings import Settings
from tests.app.workspace import changed, make_workspace
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder, find_checkpoint

LATEST = {"saveDir": "runs", "resumeFrom": "latest"}


class Nothing:
    """A checkpoint without files."""

    about: dict[str, str] = {}  # noqa: RUF012
    versions: dict[str, str] = {}  # noqa: RUF012

    def write(self, folder: Path) -> dict[str, Any]:
        """There is nothing to write."""
        return {}


def save(run: Path, epoch: int) -> Path:
    """A checkpoint of ``run``, as engines save it."""
    saved = CheckpointFolder(run, 5).save(Nothing(), kind="epoch", epoch=epoch, step=epoch, is_best=False)
    return Path(saved.path)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(Settings(home=tmp_path / "home", workspace=make_workspace(tmp_path / "workspace")))


def test_service_and_worker_mean_the_same(tmp_path: Path):
    assert newest_run(tmp_path) is None
    assert newest_run(tmp_path / "nowhere") is None
    runs = [tmp_path / name for name in ("job_b", "job_a", "team/job_c", ".")]
    for epoch in (1, 2):
        for run in runs:
            newest = save(run, epoch)
            assert find_checkpoint("latest", tmp_path) == newest
            assert newest_run(tmp_path) == newest.parent


def test_what_is_damaged_or_unfinished_is_passed_over(tmp_path: Path):
    good = save(tmp_path / "job_a", 1)
    save(tmp_path / "job_b", 1).rename(tmp_path / "job_b" / "epoch-0001.tmp")
    torn = save(tmp_path / "job_c", 1) / "manifest.json"
    for text in ("", "[]", '{"time": 3}', "[" * 100_000, "{}"):
        torn.write_text(text)
        assert newest_run(tmp_path) == good.parent
    torn.unlink()
    torn.mkdir()
    assert newest_run(tmp_path) == good.parent


def test_a_request_that_says_latest_is_resolved_when_it_is_accepted(gate: Gate, tmp_path: Path):
    save(tmp_path / "workspace/runs/job_1", 1)
    document = changed("checkpointConfig", LATEST)
    plan = plan_of(gate.examine(document, "paths"), "paths").to_json()
    admitted = gate.admit(document)
    save(tmp_path / "workspace/runs/job_2", 1)
    expected = str((tmp_path / "workspace/runs/job_1").resolve())
    assert json.loads(json.dumps(plan))["resolved"]["checkpointConfig"]["resumeFrom"] == expected
    assert admitted.request.given()["checkpointConfig"]["resumeFrom"] == expected
    # What was sent is what a key is compared by.
    assert admitted.input["checkpointConfig"] == LATEST


def test_a_run_that_lies_outside_is_none(gate: Gate, tmp_path: Path):
    save(tmp_path / "elsewhere/job_1", 1)
    (tmp_path / "workspace/runs/linked").symlink_to(tmp_path / "elsewhere")
    (error,) = gate.examine(changed("checkpointConfig", LATEST), "paths").errors
    assert (error.pointer, error.code) == ("/checkpointConfig/resumeFrom", "not_found")
