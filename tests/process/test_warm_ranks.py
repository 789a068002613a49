"""The ranks of a warm worker are forked, too: each is as one that was started as a program."""

import hashlib
import json
from pathlib import Path
from typing import Any

from app.supervision.attempt_folder import AttemptFolder
from app.supervision.nursery import NO_NURSERY, NoNursery, Nursery
from tests.process.real_worker import has_ended, prepare, started

MODEL = """
import json, multiprocessing, os, random
import numpy, torch
from torch import nn

facts = {
    "start": type(multiprocessing.current_process()).__name__, "environment": dict(os.environ), "folder": os.getcwd(),
    "drawn": [random.random(), numpy.random.random(), torch.rand(()).item()], "threads": torch.get_num_threads(),
    "shown": open("/proc/self/environ", "rb").read().decode(), "pid": os.getpid(), "session": os.getsid(0),
}
with open(f"FOLDER/rank-{os.environ['RANK']}", "w") as file:
    json.dump(facts, file)

def build_model():
    return nn.Sequential(nn.Linear(1, 16), nn.Dropout(0.3), nn.Linear(16, 2))
"""


def trained(folder: Path, nursery: NoNursery, **variables: str) -> tuple[AttemptFolder, list[dict[str, Any]], str]:
    """What two ranks of a worker of ``nursery`` found, and a digest of the weights that they have trained."""
    folder.mkdir()
    training = {"devices": 2, "epochs": 2, "findUnusedParameters": "on"}
    data = {"trainPath": str(folder / "workspace/table.csv"), "batchSize": 4}
    sections = {"engine": "native", "dataConfig": data, "trainingConfig": training, "trackingConfig": {"mlflow": False}}
    program = MODEL.replace("FOLDER", str(folder))
    attempt = prepare(folder, program, engine="native", devices=["cpu", "cpu"], sections=sections)
    with started(attempt, nursery, **variables) as worker:
        assert has_ended(worker.pid, 60_000)
    outcome = attempt.outcome()
    assert outcome is not None
    assert outcome.state == "succeeded", (outcome.error, attempt.log_tail())
    run = attempt.job / "run"
    weights = run / (run / "latest").read_text().strip() / "model.safetensors"
    facts = [json.loads((folder / f"rank-{rank}").read_text()) for rank in range(2)]
    return attempt, facts, hashlib.sha256(weights.read_bytes()).hexdigest()


def test_forked_ranks_are_as_programs(tmp_path: Path, nursery: Nursery):
    attempt, warm, weights = trained(tmp_path / "warm", nursery)
    # Libraries start threads then, and a process that has some does not fork its ranks.
    _, cold, same = trained(tmp_path / "cold", NO_NURSERY, OMP_NUM_THREADS="2")
    assert [rank["start"] for rank in warm + cold] == ["ForkProcess"] * 2 + ["SpawnProcess"] * 2
    assert weights == same
    assert "unused parameters" not in attempt.log.read_text()
    for one, other in zip(warm, cold, strict=True):
        assert other["environment"].keys() - one["environment"].keys() <= {"OMP_NUM_THREADS"}
        assert (one["threads"], one["drawn"]) == (other["threads"], other["drawn"])
        assert f"PYTORCH_TRAINER_ATTEMPT={attempt.path}" in one["shown"].split("\0")
    assert all(has_ended(rank["pid"]) for rank in warm)
