"""What a request asks for in vain is said alike by the gate, before anything is queued, and by the worker, which reads it
from the assignment."""

import json
from pathlib import Path

from schemas.assignment import ASSIGNMENT_FILE, Assignment
from tests.app.listening import SKILL, WHOLE, listening
from trainer_core.resolved import fill_in, idle_alerts, idle_in

IN_VAIN = {
    "dataConfig": {"trainPath": "data/table.csv", "batchSize": 32, "preprocessing": {"imageMode": "L"}},
    "trainingConfig": {"optimizer": "adamw", "mixedPrecision": False, "epochs": 9},
    "checkpointConfig": {"saveEvery": 1},
    "resources": {"isolation": "none"},
}


def test_the_worker_knows_what_was_asked_for(tmp_path: Path):
    with listening(tmp_path) as service:
        # Values that are the defaults, too: whoever gives them may believe that they count.
        document = {**service.model(f"import sklearn\n{WHOLE}"), **IN_VAIN, "engine": "sklearn"}
        warned = service.client.post(f"{SKILL}/plan", json=document).json()["warnings"]
        job_id = service.client.post("/v1/jobs", json=document).json()["jobId"]
        service.settled(job_id)
        written = (service.settings.jobs / job_id / "attempts/1" / ASSIGNMENT_FILE).read_text()
    assignment = Assignment.model_validate_json(written)
    assert "batchSize" in json.loads(written)["request"]["dataConfig"]
    assert "shuffle" not in json.loads(written)["request"]["dataConfig"]
    assert assignment.request.data_config.shuffle is True
    choices = {"/engine": "sklearn", "/dataConfig/format": "csv"}
    alerts = idle_alerts(assignment.request, choices, idle_in(assignment))
    said = [pointer for alert in alerts for pointer in alert.evidence["pointers"]]
    assert said == [warning["pointer"] for warning in warned]
    assert sorted(said) == [
        "/dataConfig/batchSize",
        "/dataConfig/preprocessing/imageMode",
        "/resources/isolation",
        "/trainingConfig/mixedPrecision",
        "/trainingConfig/optimizer",
    ]
    resolved, _ = fill_in(assignment.request, choices, idle_in(assignment))
    assert "isolation" not in resolved["resources"]
    assert "optimizer" not in resolved["trainingConfig"]
    assert resolved["trainingConfig"]["seed"] == 0
