"""One training on two machines, as two services on this one: killed, paused on one of them and resumed on both."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.ports import free_port
from tests.process.real_service import ending_trainings, follow_until, serving, write_workspace
from tests.tiers import LARGE

CLOCKS = ("seconds", "samplesPerSecond", "dataWaitSeconds", "evaluationSeconds")


def newest_weights(payload: dict[str, Any]) -> dict[str, np.ndarray]:
    folder = Path(payload["checkpointPath"]).parent
    weights: dict[str, np.ndarray] = load_file(folder / (folder / "latest").read_text().strip() / "model.safetensors")
    return weights


def curve(payload: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in CLOCKS} for row in payload["learningCurve"]]


def result(client: httpx.Client, job_id: str) -> dict[str, Any]:
    follow_until(client, job_id, "job.completed")
    payload: dict[str, Any] = client.get(f"/v1/jobs/{job_id}/result").json()
    return payload


@pytest.mark.torture
@pytest.mark.skipif(not LARGE, reason="of the large tier: make torture")
def test_two_services_train_one_model(tmp_path: Path):
    with ExitStack() as stack:
        clients = []
        for name in ("one", "other"):
            request = write_workspace(tmp_path / name)
            home = tmp_path / f"home-{name}"
            stack.enter_context(ending_trainings(home))
            clients.append(stack.enter_context(serving(home, tmp_path / name))[1])
        request["checkpointConfig"] = {"saveEverySteps": 2}
        alone = clients[0].post("/v1/jobs", json=request).json()["jobId"]
        expected = result(clients[0], alone)
        endpoint = f"127.0.0.1:{free_port()}"
        jobs = []
        for number, client in enumerate(clients):
            request["trainingConfig"] |= {
                "numNodes": 2,
                "rendezvous": {"endpoint": endpoint, "nodeRank": number, "timeoutSeconds": 60},
            }
            jobs.append(client.post("/v1/jobs", json=request).json()["jobId"])

        # Paused on the second, both wait, with nothing lost; resumed, they go on.
        follow_until(clients[1], jobs[1], "epoch.completed")
        clients[1].post(f"/v1/jobs/{jobs[1]}/pause")
        for client, job in zip(clients, jobs, strict=True):
            follow_until(client, job, "job.paused")
            assert client.get(f"/v1/jobs/{job}").json()["state"] == "paused"
        for client, job in zip(clients, jobs, strict=True):
            client.post(f"/v1/jobs/{job}/resume")

        # The first one's worker is killed: both are tried again.
        seen = follow_until(clients[0], jobs[0], "job.resumed")
        seen += follow_until(clients[0], jobs[0], "epoch.completed", seen[-1]["seq"])
        started = [event["data"]["pid"] for event in seen if event["type"] == "job.started"]
        os.kill(started[-1], signal.SIGKILL)
        payloads = [result(client, job) for client, job in zip(clients, jobs, strict=True)]

    assert [payload["status"] for payload in payloads] == ["success", "success"], payloads
    assert curve(payloads[0]) == curve(payloads[1])
    assert [attempt.get("ended") for attempt in payloads[0]["attempts"]] == ["paused", "worker_lost", None]
    assert [attempt.get("ended") for attempt in payloads[1]["attempts"]] == ["paused", "worker_lost", None]
    assert payloads[1]["checkpointPath"] == ""
    assert payloads[1]["artifacts"] == []
    for row, wanted in zip(payloads[0]["learningCurve"], expected["learningCurve"], strict=True):
        assert row["valLoss"] == pytest.approx(wanted["valLoss"], abs=1e-5)
    weights = newest_weights(expected)
    for name, tensor in newest_weights(payloads[0]).items():
        assert np.abs(tensor - weights[name]).max() <= 1e-5, name
