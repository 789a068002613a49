"""Runs that go on one from the other: the best checkpoint of all is the result of the last one, in whichever folder it lies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.process.real_service import ending_trainings, follow_until, serving, write_table

# It learns nothing: no later epoch is better than the first.
MODEL = """
from sklearn.linear_model import SGDClassifier


def build_model():
    return SGDClassifier(loss="log_loss", learning_rate="constant", eta0=1e-300, random_state=0)
"""


class Chain:
    """Jobs of one service, each of which goes on from the one before."""

    def __init__(self, home: Path, client: httpx.Client, request: dict[str, Any]) -> None:
        self._jobs = home / "jobs"
        self._client = client
        self._request = request
        self.folders: list[Path] = []

    def go_on(self) -> dict[str, Any]:
        """The payload of a job that trains one more epoch, from the newest checkpoint of the job before."""
        training = {**self._request["trainingConfig"], "epochs": len(self.folders) + 2}
        checkpoints = {"resumeFrom": str(self.folders[-1] / "run")} if self.folders else {}
        asked = {**self._request, "trainingConfig": training, "checkpointConfig": checkpoints}
        job_id = self._client.post("/v1/jobs", json=asked).json()["jobId"]
        self.folders.append(self._jobs / job_id)
        follow_until(self._client, job_id, "job.completed")
        payload: dict[str, Any] = self._client.get(f"/v1/jobs/{job_id}/result").json()
        assert payload["status"] == "success", payload
        return payload


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    home, workspace = tmp_path / "home", tmp_path / "workspace"
    workspace.mkdir()
    request = {**write_table(workspace), "modelPath": "linear.py"}
    (workspace / "linear.py").write_text(MODEL)
    with ending_trainings(home), serving(home, workspace) as (_, client):
        yield Chain(home, client, request)


def test_a_guarded_run_keeps_the_best_checkpoint_of_the_first_of_its_chain(chain: Chain):
    first = chain.go_on()
    for _ in range(2):
        later = chain.go_on()
        assert later["provenance"]["isolation"]["level"] == "guarded"
        assert (later["bestEpoch"], later["checkpointPath"]) == (1, first["checkpointPath"])
        assert "best_checkpoint_gone" not in {warning["code"] for warning in later["warnings"]}
