"""Streams of events: every event once, in order, from where a client left off; and nobody waits for a frozen client."""

import asyncio
import json
import signal
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.app.listening import WHOLE, Listening, address_of, check_problem, listening

HOLDS = f"epoch(1); gate('go'); epoch(2); epoch(3); {WHOLE}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("events"), slots=4, keep_alive_seconds=0.2) as running:
        yield running


def test_a_stream_broken_anywhere_goes_on_without_gap_or_double(service: Listening):
    job_id = service.submit(HOLDS)
    seen: list[int] = []
    with service.stream(job_id) as messages:
        for message in messages:
            seen.append(int(message.id))
            if message.event == "epoch.completed":
                break
    service.open_gate(job_id)
    completed = False
    while not completed:
        # Two messages a connection: it breaks after every other event.
        with service.stream(job_id, Last_Event_ID=str(seen[-1])) as messages:
            for message, _ in zip(messages, range(2), strict=False):
                seen.append(int(message.id))
                completed = message.event == "job.completed"
                if completed:
                    break
    assert seen == list(range(len(seen)))
    assert seen[-1] == service.client.get(f"/v1/jobs/{job_id}").json()["lastSeq"]


def test_a_stream_ends_after_the_last_event_even_for_one_who_has_it(service: Listening):
    job_id = service.submit(WHOLE)
    last = service.settled(job_id)["lastSeq"]
    with service.stream(job_id) as messages:
        everything = list(messages)
    assert everything[-1].event == "job.completed"
    assert json.loads(everything[-1].data)["data"]["state"] == "succeeded"
    for seen in (last, last + 7):
        with service.stream(job_id, Last_Event_ID=str(seen)) as messages:
            assert list(messages) == []


def test_all_forms_carry_the_same_events(service: Listening):
    job_id = service.submit(f"epoch(1); {WHOLE}")
    service.settled(job_id)
    page = service.client.get(f"/v1/jobs/{job_id}/events").json()
    assert page["complete"] is True
    lines = service.client.get(f"/v1/jobs/{job_id}/events", headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == page["events"]
    with service.stream(job_id) as messages:
        found = [(int(message.id), message.event, json.loads(message.data)) for message in messages]
    assert found == [(event["seq"], event["type"], event) for event in page["events"]]


def test_pages_begin_after_a_number_and_say_where_they_end(service: Listening):
    job_id = service.submit(f"epoch(1); {WHOLE}")
    service.settled(job_id)
    whole = service.events(job_id)
    collected, after = [], -1
    while True:
        page = service.client.get(f"/v1/jobs/{job_id}/events", params={"after": after, "limit": 2}).json()
        collected += page["events"]
        after = page["lastSeq"]
        if page["complete"]:
            break
    assert collected == whole


def test_a_silence_is_filled_with_comments(service: Listening):
    job_id = service.submit(HOLDS)
    headers = {"Accept": "text/event-stream"}
    with service.client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
        assert response.headers["cache-control"] == "no-store"
        lines = response.iter_lines()
        assert next(lines).startswith("retry:")
        assert next(line for line in lines if line.startswith(":")) == ": still here"
    service.open_gate(job_id)


@pytest.mark.parametrize("headers", [{"Last-Event-ID": "x"}, {"Last-Event-ID": "-9"}])
def test_a_wrong_last_event_id_is_refused(service: Listening, headers: dict[str, str]):
    job_id = service.submit(WHOLE)
    check_problem(service.client.get(f"/v1/jobs/{job_id}/events", headers=headers), 422, "parameter_invalid")


def test_many_followers_of_one_job_see_the_same(service: Listening):
    job_id = service.submit(HOLDS)

    async def follow_all() -> list[list[str]]:
        async with httpx.AsyncClient(base_url=service.server.url, headers=service.client.headers, timeout=60) as client:
            arrived = asyncio.Semaphore(0)

            async def follow() -> list[str]:
                seen = []
                headers = {"Accept": "text/event-stream"}
                async with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
                    async for line in response.aiter_lines():
                        if line.startswith("id:"):
                            seen.append(line)
                        if line == "event: epoch.completed":
                            arrived.release()
                return seen

            async def let_go() -> None:
                for _ in range(20):
                    await arrived.acquire()
                await asyncio.to_thread(service.open_gate, job_id)

            *followed, _ = await asyncio.gather(*(follow() for _ in range(20)), let_go())
            return followed

    followed = asyncio.run(follow_all())
    expected = [f"id: {event['seq']}" for event in service.events(job_id)]
    assert all(seen == expected for seen in followed)


def test_a_service_that_ends_ends_its_streams_and_waits_at_once(tmp_path):
    with listening(tmp_path) as service:
        job_id = service.submit(HOLDS)
        service.until(job_id, "epoch")
        request = f"GET /v1/jobs/{job_id}?wait=60 HTTP/1.1\r\nHost: localhost\r\n"
        request += f"Authorization: {service.client.headers['authorization']}\r\n\r\n"
        with service.stream(job_id) as messages, socket.create_connection(address_of(service)) as waiting:
            waiting.sendall(request.encode())
            next(message for message in messages if message.event == "epoch.completed")
            assert service.client.get("/readyz").status_code == 200
            service.server.handle_exit(signal.SIGTERM, None)
            assert [message.event for message in messages] == []
            waiting.settimeout(60)
            assert b'"state":"running"' in b"".join(iter(lambda: waiting.recv(65536), b""))
    # The training went on, and the next service adopts it.
    with listening(tmp_path) as service:
        assert service.client.get(f"/v1/jobs/{job_id}").json()["state"] == "running"
        service.open_gate(job_id)
        assert service.settled(job_id)["state"] == "succeeded"
        assert [event["seq"] for event in service.events(job_id)] == list(range(len(service.events(job_id))))
