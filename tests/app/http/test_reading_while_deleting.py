"""Whoever reads a job while it is deleted, by name or by policy, gets it whole or is told that it is gone; and a key that came
once is known to the next service as well."""

import threading
from itertools import cycle
from pathlib import Path

import httpx

from tests.app.listening import WHOLE, Listening, client_of, listening

READS = ("", "/result", "/events", "/logs", "/deliveries")


def read(service: Listening, jobs: list[str], over: threading.Event, answers: list[httpx.Response]) -> None:
    with client_of(service.settings, service.server.url) as client:
        for job_id, path in cycle((job_id, path) for job_id in jobs for path in READS):
            if over.is_set():
                return
            answers.append(client.get(f"/v1/jobs/{job_id}{path}"))


def test_a_job_is_read_whole_or_not_at_all_while_it_is_deleted(tmp_path: Path):
    with listening(tmp_path, slots=4) as service:
        jobs = [service.submit(f"epoch(1); {WHOLE}") for _ in range(8)]
        for job_id in jobs:
            service.settled(job_id)
        over, answers = threading.Event(), list[httpx.Response]()
        readers = [threading.Thread(target=read, args=(service, jobs, over, answers)) for _ in range(2)]
        for reader in readers:
            reader.start()
        for job_id in jobs:
            assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204
            assert {service.client.get(f"/v1/jobs/{job_id}{path}").status_code for path in READS} == {410}
        over.set()
        for reader in readers:
            reader.join(20)
    assert {answer.status_code for answer in answers} <= {200, 410}
    for answer in answers:
        if answer.status_code == 200 and answer.url.path.endswith("/events"):
            events = answer.json()["events"]
            assert [event["seq"] for event in events] == list(range(len(events)))
            assert events[-1]["type"] == "job.completed"


def test_a_key_is_known_to_the_next_service(tmp_path: Path):
    headers = {"Idempotency-Key": "once"}
    with listening(tmp_path) as service:
        body = service.model(WHOLE)
        job_id = service.client.post("/v1/jobs", json=body, headers=headers).json()["jobId"]
    with listening(tmp_path) as service:
        again = service.client.post("/v1/jobs", json=body, headers=headers)
        other = service.client.post("/v1/jobs", json={**body, "labels": {"a": "b"}}, headers=headers)
        assert (again.status_code, again.json()["jobId"]) == (202, job_id)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
        assert len(service.client.get("/v1/jobs").json()["jobs"]) == 1
