"""A disk that is full when the trained model is exported: the training is whole, and so is the service."""

import hashlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.supervision.supervisor import WORKER_COMMAND
from tests.app.service_nursery import services
from tests.process.real_service import follow_until, write_table
from tests.process.test_full_disks import small_disk, wait_for_its_end
from tests.tiers import LARGE, rounds
from trainer_core.checkpoints.manifest import verify

ROUNDS = rounds(1, 13)
# Of 8 MiB. It stays in its export until the test has filled the disk.
MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 1440), nn.Linear(1440, 1440), nn.Linear(1440, 2))

    def forward(self, x):
        if torch.compiler.is_exporting():
            with open("gate"):
                pass
        return self.layers(x)
"""
SIZE = 8 << 20
# For what the worker and the service have to say meanwhile, where they share the disk.
BESIDE = 3 << 20


@pytest.mark.torture
@pytest.mark.timeout(180)
def test_a_disk_that_is_full_of_an_export(
    tmp_path: Path, chance: random.Random, record_property: Callable[[str, object], None]
):
    """Of a guarded worker; it shares the disk with all that it says, or has it alone. There may be room for a part of a file, or
    for one of the two."""
    full = 0
    with (
        small_disk(tmp_path / "home", 96 << 20) as shared,
        services(tmp_path) as nursery,
        small_disk(nursery.workspace / "runs", 96 << 20) as alone,
    ):
        (nursery.workspace / "model.py").write_text(MODEL)
        gate = nursery.workspace / "gate"
        with nursery.serving(WORKER_COMMAND, disk_floor_bytes=0, warm=True) as service, service.client() as client:
            while full < ROUNDS:
                disk, saving = [(shared, {}), (alone, {"saveDir": "runs"})][full % 2]
                request = asking(nursery.workspace, saving)
                os.mkfifo(gate)
                job_id = client.post("/v1/jobs", json=request).json()["jobId"]
                follow_until(client, job_id, "export.progress")
                disk.fill(chance.randrange(0 if saving else BESIDE, 2 * SIZE))
                with gate.open("w"):
                    assert client.get(f"/v1/jobs/{job_id}").status_code == 200
                wait_for_its_end(nursery.home / "jobs" / job_id)
                assert client.get("/v1/jobs").status_code == 200
                disk.make_room()
                end = follow_until(client, job_id, "job.completed")[-1]["data"]
                gate.unlink()
                full += check(end["state"], end["output"])
                folder = Path(end["output"]["checkpointPath"]).parent
                if LARGE:
                    gate.write_text("open")
                    again = asking(nursery.workspace, {"resumeFrom": str(folder)})
                    job_id = client.post("/v1/jobs", json=again).json()["jobId"]
                    output = follow_until(client, job_id, "job.completed")[-1]["data"]["output"]
                    assert [export["status"] for export in output["exports"]] == ["exported"] * 2
                    shutil.rmtree(nursery.home / "jobs" / job_id / "run")
                    gate.unlink()
                shutil.rmtree(folder)
    record_property("full disks", full)


def asking(workspace: Path, saving: dict[str, str]) -> dict[str, Any]:
    """A request that exports."""
    request = write_table(workspace) | {
        "modelPath": "model.py",
        "checkpointConfig": saving,
        "exportConfig": {"formats": ["torch_export", "safetensors"]},
    }
    request["trainingConfig"]["epochs"] = 1
    return request


def check(state: str, output: dict) -> bool:
    """Whether the disk was full; all is well where it was."""
    assert (state, output["status"], output.get("error")) == ("succeeded", "success", None)
    assert output["provenance"]["isolation"]["level"] == "guarded"
    checkpoint = Path(output["checkpointPath"])
    assert verify(checkpoint).epoch == 1
    assert [export["format"] for export in output["exports"]] == ["torch_export", "safetensors"]
    made = [export for export in output["exports"] if export["status"] == "exported"]
    for export in made:
        assert hashlib.sha256(Path(export["path"]).read_bytes()).hexdigest() == export["sha256"]
    left = {path.name for path in (checkpoint.parent / "export").iterdir()}
    assert left == {Path(export["path"]).name for export in made}
    codes = [export["error"]["code"] for export in output["exports"] if export["status"] == "failed"]
    assert codes == ["disk_full"] * len(codes)
    assert [warning["code"] for warning in output["warnings"]].count("export_failed") == len(codes)
    return bool(codes)
