"""A webhook outlives the service that owes it: killed before it could be sent, and killed while it was being sent."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.app.listening import WHOLE
from tests.app.webhooks.receiver import receiving
from tests.app.webhooks.test_sending import documented_verify
from tests.app.workspace import REQUEST, make_workspace
from tests.ports import nobody
from tests.process.real_service import ROOT


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A service in a process of its own, which is killed at the end, and a client of it."""
    command = [sys.executable, "-m", "tests.process.webhook_service", str(folder / "home"), str(folder / "workspace")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            headers = {"Authorization": f"Bearer {(folder / 'home' / 'token').read_text().strip()}"}
            with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
                yield process, client
        finally:
            process.kill()


def delivery(client: httpx.Client, job_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The one delivery of a job, once it is so."""
    deadline = time.monotonic() + 60
    while True:
        found: list[dict[str, Any]] = client.get(f"/v1/jobs/{job_id}/deliveries").json()["deliveries"]
        if found and holds(found[0]):
            return found[0]
        assert time.monotonic() < deadline, found


def test_a_webhook_is_delivered_after_two_kills(tmp_path: Path):
    make_workspace(tmp_path / "workspace")
    (tmp_path / "workspace" / "model.py").write_text(WHOLE)
    with nobody() as port:
        check_delivered_after_two_kills(tmp_path, port)


def check_delivered_after_two_kills(tmp_path: Path, port: int) -> None:
    """Nobody listens at ``port`` at first."""
    notify = [{"url": f"http://127.0.0.1:{port}/hook"}]
    request = {**REQUEST, "modelPath": "model.py", "engine": "native", "notify": notify}
    with serving(tmp_path) as (service, client):
        job_id = client.post("/v1/jobs", json=request).json()["jobId"]
        owed = delivery(client, job_id, lambda row: row["attempts"] >= 1)
        assert (owed["state"], owed["error"].partition(":")[0]) == ("pending", "ConnectError")
        os.kill(service.pid, signal.SIGKILL)
    gate = threading.Event()
    with receiving(204, port=port, gate=gate) as receiver:
        with serving(tmp_path) as (service, _):
            first = receiver.next()
            os.kill(service.pid, signal.SIGKILL)
            service.wait()
        with serving(tmp_path) as (_, client):
            second = receiver.next()
            gate.set()
            found = delivery(client, job_id, lambda row: row["state"] == "delivered")
        assert receiver.nothing_more()
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == found["deliveryId"] == owed["deliveryId"]
    documented_verify()((tmp_path / "home" / "webhook-secret").read_text().strip(), second.headers, second.body)
