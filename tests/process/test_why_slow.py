"""Why was it slow? Two real trainings, one whose data and one whose model take their time, and what their payloads answer."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest

from app.cli.closing import closing_text
from tests.process.real_service import ending_trainings, follow_until, next_nursery, serving

# Slow is four times what the start of the worker took, whatever that is on a busy machine, in parts: one for each sample.
MODEL = """
import os
import time
from pathlib import Path

import torch
from torch import nn

BEGAN = Path(os.environ["PYTORCH_TRAINER_ATTEMPT"], "assignment.json").stat().st_mtime
SAMPLES = 160
part = spent = 0.0


def drag(samples):
    global part, spent
    part = part or 4 * (time.time() - BEGAN) / SAMPLES
    began = time.perf_counter()
    while time.perf_counter() < began + samples * part:
        pass
    spent += time.perf_counter() - began
    print(f"spent {spent}", flush=True)


class Rows(torch.utils.data.Dataset):
    def __init__(self, split):
        self.split = split

    def __len__(self):
        return 80 if self.split == "train" else 8

    def __getitem__(self, index):
        if WHAT == "data" and self.split == "train":
            drag(1)
        return torch.full((6,), float(index % 3)), index % 3


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        if WHAT == "compute" and self.training:
            drag(len(x))
        return self.layer(x)


def build_dataset(path, split):
    return Rows(split)


def build_model():
    return Net()
"""


@dataclass(frozen=True)
class Answer:
    """What a run answers: its events, its payload; and the seconds that were ``spent`` where it is slow."""

    events: list[dict[str, Any]]
    payload: dict[str, Any]
    spent: float

    @property
    def time(self) -> dict[str, Any]:
        """The budget of its time."""
        budget: dict[str, Any] = self.payload["summary"]["time"]
        return budget

    @property
    def whole(self) -> float:
        """All seconds of the budget."""
        return float(sum(seconds for name, seconds in self.time.items() if name != "bound"))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Answer]]:
    """By what is slow. Both train at the same time."""
    folder = tmp_path_factory.mktemp("slow")
    home, workspace = folder / "home", folder / "workspace"
    workspace.mkdir()
    (workspace / "rows").touch()
    with ending_trainings(home), serving(home, workspace, PT_WARM="on", PT_SLOTS="2") as (service, client):
        next_nursery(service)
        jobs = {what: submit(client, workspace, what) for what in ("data", "compute")}
        yield {what: answer_of(client, job_id) for what, job_id in jobs.items()}


def submit(client: httpx.Client, workspace: Path, what: str) -> str:
    (workspace / f"{what}.py").write_text(f"WHAT = {what!r}\n{MODEL}")
    request = {
        "modelPath": f"{what}.py",
        "dataConfig": {"trainPath": "rows", "format": "modelFile", "batchSize": 4, "numWorkers": 0},
        "trainingConfig": {"epochs": 2, "reportEverySeconds": 0},
        "trackingConfig": {"mlflow": False},
        "resources": {"threads": 1},
    }
    return str(client.post("/v1/jobs", json=request).raise_for_status().json()["jobId"])


def answer_of(client: httpx.Client, job_id: str) -> Answer:
    events = follow_until(client, job_id, "job.completed")
    printed = client.get(f"/v1/jobs/{job_id}/logs").text
    return Answer(events, events[-1]["data"]["output"], float(re.findall(r"spent (\S+)", printed)[-1]))


def test_a_run_that_waits_for_its_data_says_so_and_for_how_long(answers: dict[str, Answer]):
    slow = answers["data"]
    assert slow.time["bound"] == "data"
    # A part of it is spent on the samples with which the model is tried out.
    assert slow.time["data"] >= 0.9 * slow.spent
    assert sum(row["dataWaitSeconds"] for row in slow.payload["learningCurve"]) == pytest.approx(slow.time["data"])
    assert median(event["data"]["dataWaitShare"] for event in slow.events if event["type"] == "step") > 0.5
    share = slow.time["data"] / slow.whole
    assert f" {share:.0%} of the time went into waiting for data. " in closing_text(slow.payload, None, None)


def test_a_run_whose_model_takes_the_time_says_so(answers: dict[str, Answer]):
    slow = answers["compute"]
    assert slow.time["bound"] == "compute"
    assert slow.time["compute"] >= 0.9 * slow.spent
    assert slow.time["data"] <= slow.whole - slow.spent
    assert "of the time" not in closing_text(slow.payload, None, None)
