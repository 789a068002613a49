"""Webhooks of real jobs: told once it is stored, again until it is taken, and to nobody who should not be."""

import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from app.webhooks.assembling import require_webhook
from app.webhooks.schedule import MOST_ATTEMPTS, seconds_to_next
from tests.app.listening import FAILS, WHOLE, Listening, check_problem, listening
from tests.app.webhooks.receiver import Receiver, events_of, receiving
from tests.app.webhooks.test_sending import documented_verify

STARTED = "say('job.started', pid=1, engine='native', devices=['cpu'], versions={})\n"
OPEN: dict[str, Any] = {"webhook_hosts": ("127.0.0.1",), "webhook_first_wait_seconds": 0.02, "webhook_seconds": 60.0}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("webhooks"), **OPEN) as running:
        yield running


def deliveries(service: Listening, job_id: str) -> list[dict[str, Any]]:
    """As a client sees them."""
    found: list[dict[str, Any]] = service.client.get(f"/v1/jobs/{job_id}/deliveries").json()["deliveries"]
    return found


def once(service: Listening, job_id: str, holds: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The deliveries, once it is so. A delivery is written down after its receiver has it, and nothing is told of that."""
    deadline = time.monotonic() + 60
    while not holds(found := deliveries(service, job_id)):
        assert time.monotonic() < deadline, found
    return found


def settled(found: list[dict[str, Any]]) -> bool:
    """Whether none is on its way."""
    return bool(found) and all(row["state"] != "pending" for row in found)


def notify(receiver: Receiver, *events: str, path: str = "/hook") -> list[dict[str, Any]]:
    """A request's ``notify``."""
    return [{"url": receiver.url(path), **({"events": list(events)} if events else {})}]


def test_the_end_of_a_job_is_told_signed_and_with_its_payload(service: Listening):
    with receiving(204) as receiver:
        job_id = service.submit(STARTED + WHOLE, notify=notify(receiver, path="/hook?key=canary"), labels={"a": "b"})
        got = receiver.next()
        found = once(service, job_id, settled)
        assert receiver.nothing_more()
    secret = service.settings.webhook_secret_file.read_text().strip()
    documented_verify()(secret, got.headers, got.body)
    assert (got.path, got.headers["content-type"]) == ("/hook?key=canary", "application/json")
    told = got.document
    end = service.events(job_id)[-1]
    assert (told["type"], told["timestamp"], told["data"]["seq"]) == ("job.completed", end["time"], end["seq"])
    assert (told["data"]["jobId"], told["data"]["labels"]) == (job_id, {"a": "b"})
    assert told["data"]["event"] == end["data"]
    for link in told["data"]["links"].values():
        assert service.client.get(link).status_code == 200
    assert len(found) == 1
    expected = {"type": "job.completed", "state": "delivered", "attempts": 1, "status": 204, "seq": end["seq"]}
    assert {key: found[0][key] for key in expected} == expected
    assert found[0]["deliveryId"] == got.headers["webhook-id"]
    assert found[0]["url"] == receiver.url()


def test_what_was_asked_for_is_told_and_nothing_else(service: Listening):
    program = STARTED + "say('alert', code='odd', level='info', message='x')\n" + FAILS
    with receiving(200) as all_of_it, receiving(200) as some:
        names = ("job.queued", "job.started", "alert", "job.completed")
        job_id = service.submit(program, notify=notify(all_of_it, *names) + notify(some, "attempt.failed", "alert"))
        found = once(service, job_id, lambda rows: len(rows) == 5 and settled(rows))
        assert sorted(events_of([all_of_it.next() for _ in range(4)])) == sorted(names)
        assert events_of([some.next()]) == ["alert"]
        assert all_of_it.nothing_more()
        assert some.nothing_more()
    assert len({row["deliveryId"] for row in found}) == 5


def test_what_is_not_taken_is_sent_again_the_same_under_a_new_signature(service: Listening):
    def tried_again() -> int:
        name = r'pytorch_trainer_webhook_attempts_total\{outcome="tried_again"\} (\d+)'
        return int(re.findall(name, service.client.get("/metrics").text)[0])

    before = tried_again()
    with receiving(500, (302, {"Location": "/elsewhere"}), 404, 204) as receiver:
        job_id = service.submit(WHOLE, notify=notify(receiver))
        got = [receiver.next() for _ in range(4)]
        found = once(service, job_id, settled)
        assert receiver.nothing_more()
    assert len({request.body for request in got}) == 1
    assert len({request.headers["webhook-id"] for request in got}) == 1
    secret = service.settings.webhook_secret_file.read_text().strip()
    for request in got:
        documented_verify()(secret, request.headers, request.body)
    assert (found[0]["state"], found[0]["attempts"], found[0]["status"]) == ("delivered", 4, 204)
    assert tried_again() - before == 3
    assert {request.path for request in got} == {"/hook"}


@pytest.mark.alone
def test_a_receiver_that_is_gone_ends_it_for_the_job_which_says_so(service: Listening):
    answer = threading.Event()
    with receiving(410, gate=answer) as receiver:
        program = STARTED + "gate('go'); say('alert', code='odd', level='info', message='x')\n" + WHOLE
        job_id = service.submit(program, notify=notify(receiver, "job.started", "alert", "job.completed"))
        receiver.next()
        with service.stream(job_id) as messages:
            next(message for message in messages if message.event == "job.started")
            began = time.monotonic()
            answer.set()
            next(message for message in messages if message.event == "alert")
        # Announced, and not found at the end of a silence.
        assert time.monotonic() - began < service.settings.keep_alive_seconds - 1
        service.open_gate(job_id)
        service.settled(job_id)
        found = deliveries(service, job_id)
        assert receiver.nothing_more()
    assert [(row["type"], row["state"], row["status"]) for row in found] == [("job.started", "failed", 410)]
    alert = next(event["data"] for event in service.events(job_id) if event["type"] == "alert")
    assert alert["code"] == "webhook_failed"
    assert alert["evidence"]["deliveryId"] == found[0]["deliveryId"]


def test_the_attempts_are_spread_over_about_a_day_and_end():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    random.seed(seed)
    waits = [seconds_to_next(attempt, 5.0) for attempt in range(1, MOST_ATTEMPTS + 1)]
    assert waits[-1] is None
    seconds = [wait for wait in waits if wait is not None]
    assert len(seconds) == 10
    assert 4 <= seconds[0] <= 6
    assert 16 * 3600 <= sum(seconds) <= 32 * 3600
    assert max(seconds) <= 1.2 * 6 * 3600
    assert len({seconds_to_next(3, 5.0) for _ in range(20)}) > 1
    assert seconds_to_next(1, 5.0, asked=100.0) == 100.0
    assert (seconds_to_next(1, 5.0, asked=1e9) or 0) <= 6 * 3600


def test_the_service_tells_somebody_of_every_job(tmp_path: Path):
    with receiving(204) as receiver:
        more = {"webhook_url": receiver.url("/all"), "webhook_events": ("job.queued", "job.completed")}
        with listening(tmp_path, **OPEN, **more) as service:
            job_id = service.submit(WHOLE, notify=notify(receiver, path="/one"))
            paths = sorted(receiver.next().path for _ in range(3))
            once(service, job_id, settled)
            said = service.client.get("/v1/capabilities").json()["webhooks"]
    assert paths == ["/all", "/all", "/one"]
    assert said == {"events": said["events"], "hosts": ["127.0.0.1"], "everyJob": True}
    assert "job.completed" in said["events"]


def test_a_retried_job_tells_those_whom_the_first_one_named(tmp_path: Path):
    with receiving(204) as receiver, listening(tmp_path, **OPEN, webhook_url=receiver.url("/all")) as service:
        job_id = service.submit(FAILS, notify=notify(receiver, path="/one"))
        service.settled(job_id)
        again = service.client.post(f"/v1/jobs/{job_id}/retry").json()["jobId"]
        service.settled(again)
        told = sorted((receiver.next().path, "") for _ in range(4))
        assert [path for path, _ in told] == ["/all", "/all", "/one", "/one"]
        once(service, again, settled)
        assert receiver.nothing_more()


def test_a_url_to_which_nothing_is_sent_is_refused_with_the_reason(service: Listening):
    request = service.model(WHOLE)
    targets = [
        {"url": "https://10.0.0.1/x"},
        {"url": "http://example.com"},
        {"url": "https://localhost:1/"},
        {"url": "https://u:canary@example.com"},
    ]
    problem = check_problem(service.client.post("/v1/jobs", json={**request, "notify": targets}), 422, "input_invalid")
    assert [error["pointer"] for error in problem["errors"]] == [f"/notify/{index}/url" for index in range(4)]
    assert {error["code"] for error in problem["errors"]} == {"url_refused"}
    assert [error["message"].partition(": ")[2] for error in problem["errors"]] == [
        "10.0.0.1 is not at a public address, and not among PT_WEBHOOK_HOSTS.",
        "it is not https.",
        "localhost is not at a public address, and not among PT_WEBHOOK_HOSTS.",
        "a user, a password or a fragment has no place in it.",
    ]
    assert "canary" not in json.dumps(problem)
    plan = service.client.post("/v1/skills/pytorch-trainer/plan", json={**request, "notify": targets}).json()
    assert plan["verdict"] == "blocked"
    for wrong in (
        [{"url": 1}],
        [{"events": ["job.completed"]}],
        [{"url": "https://1.1.1.1", "events": ["x"]}],
        [{"url": "https://1.1.1.1", "secret": "whsec_x"}],
    ):
        check_problem(service.client.post("/v1/jobs", json={**request, "notify": wrong}), 422, "input_invalid")


def test_a_wrong_url_of_the_service_is_named_at_its_start(tmp_path: Path):
    settings = Settings(home=tmp_path, workspace=tmp_path, webhook_url="http://example.com/canary")
    with pytest.raises(ValueError, match="PT_WEBHOOK_URL: nothing is sent there: it is not https") as error:
        require_webhook(settings)
    assert "canary" not in str(error.value)
    with pytest.raises(ValueError, match=r"PT_WEBHOOK_EVENTS='job.done': expected some of job.queued"):
        Settings.from_environment({"PT_WEBHOOK_EVENTS": "job.done"})


def test_a_slow_receiver_holds_a_few_and_not_all(service: Listening):
    """Two at a time for one host; another's are not kept waiting."""
    gate = threading.Event()
    talkative = "for _ in range(30): say('alert', code='many', level='info', message='x')\n"
    with receiving(204, gate=gate) as slow, receiving(204) as quick:
        held = [service.submit(WHOLE, notify=notify(slow, "job.queued", "job.completed")) for _ in range(2)]
        owed = service.submit(talkative + WHOLE, notify=notify(slow, "alert"))
        for _ in range(2):
            slow.next()
        for job_id in held:
            service.settled(job_id)
        service.settled(owed)
        service.submit(WHOLE, notify=notify(quick))
        quick.next()
        assert slow.most_at_once == 2
        gate.set()
        for job_id in held:
            once(service, job_id, lambda rows: len(rows) == 2 and settled(rows))
        once(service, owed, lambda rows: len(rows) == 30 and settled(rows))
        assert slow.most_at_once == 2


def test_the_secret_and_the_query_of_a_url_are_nowhere(service: Listening, caplog: pytest.LogCaptureFixture):
    deadline = time.monotonic() + 60
    logging.getLogger("app").addHandler(caplog.handler)
    with receiving(500, 204) as receiver:
        job_id = service.submit(STARTED + WHOLE, notify=notify(receiver, path="/canary?canary"))
        got = [receiver.next(), receiver.next()]
        once(service, job_id, settled)
    logging.getLogger("app").removeHandler(caplog.handler)
    secret = service.settings.webhook_secret_file.read_text().strip()
    shown = json.dumps(
        [
            service.client.get(path).text
            for path in (
                f"/v1/jobs/{job_id}",
                f"/v1/jobs/{job_id}/result",
                f"/v1/jobs/{job_id}/events",
                "/v1/capabilities",
                "/metrics",
            )
        ]
    )
    everything = (
        shown
        + caplog.text
        + "".join(request.body.decode() for request in got)
        + str([request.headers for request in got])
    )
    assert "webhook job.completed to 127.0.0.1" in caplog.text
    assert secret not in everything
    assert secret.removeprefix("whsec_") not in everything
    assert "canary" not in shown + caplog.text
    # Those of other tests may still be on their way.
    while "pytorch_trainer_webhooks_pending 0.0" not in service.client.get("/metrics").text:
        assert time.monotonic() < deadline


def test_a_worker_that_talks_without_end_does_not_write_without_end(service: Listening):
    flood = "for _ in range(1200): say('alert', code='flood', level='info', message='x')\n"
    with receiving(410) as receiver:
        job_id = service.submit(flood + WHOLE, notify=notify(receiver, "alert", "job.completed"))
        service.settled(job_id)
        found = once(service, job_id, settled)
    assert len(found) <= 1000
