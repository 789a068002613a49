"""Services that are killed while clients submit and workers work: nothing accepted is lost, nothing is done or said twice."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.job import TERMINAL
from tests.app.service_nursery import Served, ServiceNursery, services
from tests.app.workspace import TORCH_MODEL
from tests.tiers import rounds

KILLS = rounds(20, 500)
SLOTS = 4
# One run at a time holds ``here``; each that begins leaves a letter in ``began``.
PROGRAM = """
import time
os.close(os.open(job / "here", os.O_CREAT | os.O_EXCL))
with (job / "began").open("a") as file:
    file.write(".")
for number in range(1, 4):
    epoch(number)
    time.sleep(SECONDS / 3)
os.unlink(job / "here")
end("succeeded")
"""


@dataclass
class Client:
    """Submits jobs to whichever service listens now; each under a key of its own, until it is accepted."""

    request: dict[str, Any]
    accepted: dict[str, str] = field(default_factory=dict)
    service: Served | None = None
    enough: threading.Event = field(default_factory=threading.Event)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def turn_to(self, service: Served | None) -> None:
        """This service listens from now on."""
        with self._arrived:
            self.service = service
            self._arrived.notify_all()

    def submit_until_enough(self) -> None:
        """One job after the other."""
        number = 0
        while not self.enough.is_set():
            with self._arrived:
                self._arrived.wait_for(lambda: self.service is not None or self.enough.is_set())
                service = self.service
            if service is not None and self.submit(service, f"key-{number}"):
                number += 1

    def submit(self, service: Served, key: str) -> bool:
        """Whether the job is accepted."""
        try:
            with service.client() as client:
                answer = client.post("/v1/jobs", json=self.request, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            return False
        assert answer.status_code == 202, answer.text
        self.accepted[key] = answer.json()["jobId"]
        # Not more than the workers can do.
        self.enough.wait(0.05)
        return True


@contextmanager
def submitting(client: Client) -> Iterator[None]:
    """A client at work."""
    thread = threading.Thread(target=client.submit_until_enough)
    thread.start()
    try:
        yield
    finally:
        client.enough.set()
        client.turn_to(None)
        thread.join(60)


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[ServiceNursery]:
    """Where the services come from."""
    with services(tmp_path) as made:
        yield made


def request_of(nursery: ServiceNursery, seconds: float) -> dict[str, Any]:
    """A job whose worker takes so long."""
    (nursery.workspace / "model.py").write_text(f"SECONDS = {seconds}\n{PROGRAM}{TORCH_MODEL}")
    (nursery.workspace / "data").mkdir(exist_ok=True)
    return {"modelPath": "model.py", "engine": "native", "dataConfig": {"trainPath": "data"}, "trainingConfig": {}}


def all_jobs(client: httpx.Client) -> list[dict[str, Any]]:
    """Every job of a service."""
    found, cursor = [], None
    while True:
        page = client.get("/v1/jobs", params={"limit": 100, **({"cursor": cursor} if cursor else {})}).json()
        found += page["jobs"]
        if (cursor := page.get("nextCursor")) is None:
            return found


def settled(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """A job once it has ended."""
    while True:
        view: dict[str, Any] = client.get(f"/v1/jobs/{job_id}", params={"wait": 60, "until": "terminal"}).json()
        if view["state"] in TERMINAL:
            return view


def check_job(nursery: ServiceNursery, client: httpx.Client, job_id: str) -> int:
    """It ended well, ran once, was heard without gap or double; the attempts that it took."""
    view = settled(client, job_id)
    assert view["state"] == "succeeded", client.get(f"/v1/jobs/{job_id}/logs").text
    folder = nursery.home / "jobs" / job_id
    assert (folder / "began").read_text() == "."
    events = client.get(f"/v1/jobs/{job_id}/events").json()["events"]
    assert [event["seq"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events if event["type"] != "attempt.failed"]
    assert kinds == ["job.queued", *["epoch.started", "epoch.completed"] * 3, "job.completed"]
    assert [row["epoch"] for row in client.get(f"/v1/jobs/{job_id}/result").json()["learningCurve"]] == [1, 2, 3]
    attempt: int = view["attempt"]
    return attempt


@pytest.mark.torture
def test_services_killed_under_load_lose_and_double_nothing(
    nursery: ServiceNursery, chance: random.Random, record_property: Callable[[str, object], None]
):
    client = Client(request_of(nursery, 0.1))
    with submitting(client):
        for _ in range(KILLS):
            with nursery.serving(slots=SLOTS) as service:
                client.turn_to(service)
                client.enough.wait(chance.uniform(0, 0.4))
                service.end(signal.SIGKILL)
                client.turn_to(None)
    with nursery.serving(slots=SLOTS) as service, service.client() as last:
        jobs = {view["jobId"] for view in all_jobs(last)}
        # What was stored when the answer was killed has no client who knows of it, but it is a job all the same.
        assert set(client.accepted.values()) <= jobs
        assert len(jobs) - len(client.accepted) in (0, 1)
        again = [check_job(nursery, last, job_id) > 1 for job_id in sorted(jobs)]
    assert {folder.name for folder in (nursery.home / "jobs").iterdir()} == jobs
    record_property("kills", KILLS)
    record_property("jobs accepted", len(jobs))
    record_property("begun again before their worker had started", sum(again))
    record_property("lost, doubled, gaps", 0)


@pytest.mark.torture("large")
def test_long_jobs_hardly_notice_that_services_are_killed(
    nursery: ServiceNursery, chance: random.Random, record_property: Callable[[str, object], None]
):
    seconds, jobs = 31.0, 2 * SLOTS
    request = request_of(nursery, seconds)
    took = {}
    for name in ("undisturbed", "killed"):
        client, kills = Client(request), 0
        began = time.monotonic()
        with nursery.serving(slots=SLOTS) as service:
            assert all(client.submit(service, f"{name}-{number}") for number in range(jobs))
            if name == "undisturbed":
                with service.client() as speaking:
                    assert [check_job(nursery, speaking, job_id) for job_id in client.accepted.values()] == [1] * jobs
        left = set(client.accepted.values())
        while left and name == "killed":
            with nursery.serving(slots=SLOTS) as service, service.client() as speaking:
                deadline = time.monotonic() + chance.uniform(0.5, 4)
                while left and time.monotonic() < deadline:
                    params = {"wait": max(0.0, deadline - time.monotonic()), "until": "terminal"}
                    view = speaking.get(f"/v1/jobs/{min(left)}", params=params).json()
                    if view["state"] in TERMINAL:
                        left.remove(view["jobId"])
            kills += 1
        took[name] = time.monotonic() - began
    with nursery.serving(slots=SLOTS) as service, service.client() as speaking:
        for view in all_jobs(speaking):
            check_job(nursery, speaking, view["jobId"])
    ratio = took["undisturbed"] / took["killed"]
    record_property("kills", kills)
    record_property("throughput of the undisturbed", f"{ratio:.1%}")
    assert ratio >= 0.9
