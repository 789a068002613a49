"""The wall clock of service and workers is set forth and back by years: no live job is rescued, none runs out of time, and what
they say is kept in order."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.app.scene import STAND_IN, open_gate
from tests.app.service_nursery import services
from tests.app.workspace import TORCH_MODEL
from tests.native.preload import preloaded
from tests.process.real_service import follow_until
from tests.tiers import rounds

JUMPS = rounds(6, 200)
YEAR = 365 * 86400
PROGRAM = f"""
for number in range(1, {JUMPS + 1}):
    epoch(number)
    gate(f"gate{{number}}")
end("succeeded")
"""


def set_clock(path: Path, seconds: int) -> None:
    """So far from the right time. In place: processes have the file in their memory."""
    with path.open("r+b") as file:
        file.write(seconds.to_bytes(8, "little", signed=True))


@pytest.mark.torture
def test_a_clock_that_jumps_ends_nothing(
    tmp_path: Path, chance: random.Random, record_property: Callable[[str, object], None]
):
    clock = tmp_path / "clock"
    clock.write_bytes(bytes(8))
    jumping = {**preloaded("clock"), "PT_CLOCK_FILE": str(clock)}
    worker = ["env", *(f"{name}={value}" for name, value in jumping.items()), *STAND_IN]
    with services(tmp_path, jumping) as nursery:
        (nursery.workspace / "model.py").write_text(PROGRAM + TORCH_MODEL)
        (nursery.workspace / "data").mkdir()
        request = {
            "modelPath": "model.py",
            "engine": "native",
            "dataConfig": {"trainPath": "data"},
            "trainingConfig": {},
        }
        request["limits"] = {"maxSeconds": 3600, "stopAfterSeconds": 3000, "maxSilentSeconds": 3000}
        seen, job_id = -1, ""
        for number in range(1, JUMPS + 1):
            # Every service sees some jumps, and some come while there is none.
            with nursery.serving(worker) as service, service.client() as client:
                if not job_id:
                    job_id = client.post("/v1/jobs", json=request).json()["jobId"]
                seen = follow_until(client, job_id, "epoch.completed", seen)[-1]["seq"]
                set_clock(clock, chance.randint(-40 * YEAR, 40 * YEAR))
                view = client.get(f"/v1/jobs/{job_id}", params={"wait": 0.2, "until": "state"}).json()
                assert (view["state"], view["attempt"]) == ("running", 1)
                open_gate(nursery.home / "jobs" / job_id / f"gate{number}")
                if number % 3 == 0:
                    service.end(signal.SIGKILL)
                    set_clock(clock, chance.randint(-40 * YEAR, 40 * YEAR))
        with nursery.serving(worker) as service, service.client() as client:
            events = follow_until(client, job_id, "job.completed")
            payload = client.get(f"/v1/jobs/{job_id}/result").json()
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert (payload["status"], events[-1]["attempt"]) == ("success", 1)
    assert [row["epoch"] for row in payload["learningCurve"]] == list(range(1, JUMPS + 1))
    assert payload["metrics"].get("trainingTime", 0) >= 0
    record_property("jumps", JUMPS + JUMPS // 3)
