"""Hundreds of clients that follow a job, some frozen, some coming back again and again: each sees every event once, and the
service answers others meanwhile."""

import asyncio
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.app.scene import open_gate
from tests.app.service_nursery import Served, ServiceNursery, services
from tests.app.workspace import TORCH_MODEL
from tests.tiers import rounds

CLIENTS = rounds(200, 1000)
EVENTS = rounds(60, 100)
SEND_SECONDS = 1.0
LONGEST_P99_SECONDS = 0.25
TALKS = f"""
import time
gate("go")
for number in range({EVENTS}):
    say("log", level="info", stream="worker", text=str(number))
    time.sleep({rounds(6, 30) / EVENTS})
end("succeeded")
"""
# More than the kernel holds for one who takes nothing.
SHOUTS = """
for number in range(4000):
    say("log", level="info", stream="worker", text="x" * 2000)
gate("go")
end("succeeded")
"""


class Follower:
    """One client; ``seen`` are the numbers of the events, as they came."""

    def __init__(self, service: Served, job_id: str) -> None:
        self.service = service
        self.job_id = job_id
        self.seen: list[int] = []

    @property
    def request(self) -> bytes:
        """For the events after those that were seen."""
        last = self.seen[-1] if self.seen else -1
        return (
            f"GET /v1/jobs/{self.job_id}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {self.service.token}\r\nLast-Event-ID: {last}\r\n\r\n"
        ).encode()

    async def follow(self, arrived: Callable[[], None], most: int | None = None) -> bool:
        """Follow to the end, or for so many events; whether it was the end."""
        url = httpx.URL(self.service.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(self.request)
        try:
            while line := await reader.readline():
                if line.startswith(b"id: "):
                    self.seen.append(int(line[4:]))
                    most = None if most is None else most - 1
                    arrived()
                elif line.startswith(b"event: job.completed"):
                    return True
                elif not line.strip() and most == 0:
                    return False
        finally:
            writer.close()
        raise AssertionError("the stream broke off")

    async def come_and_go(self, arrived: Callable[[], None], chance: random.Random) -> None:
        """Follow to the end, on many connections."""
        while not await self.follow(arrived, chance.randint(1, 10)):
            pass


def freeze(service: Served, job_id: str) -> socket.socket:
    """A client that asks and takes nothing."""
    url = httpx.URL(service.url)
    frozen = socket.socket()
    frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frozen.connect((url.host, url.port))
    frozen.sendall(Follower(service, job_id).request)
    return frozen


def is_dropped(frozen: socket.socket) -> bool:
    """Whether the service has let go of it before the end of the stream: what comes is what the kernel had, and no more."""
    frozen.settimeout(30)
    taken = 0
    try:
        while piece := frozen.recv(1 << 16):
            taken += len(piece)
    except ConnectionResetError:
        return True
    return taken < 4000 * 2000


def connections(service: Served) -> int:
    """Sockets that the service has open."""
    found = 0
    for entry in os.scandir(f"/proc/{service.process.pid}/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(entry.path).startswith("socket:")
    return found


def ask_all_the_time(service: Served, job_id: str, enough: threading.Event) -> list[float]:
    """Seconds of each of the requests of one who controls jobs."""
    took = []
    with service.client() as client:
        while not enough.wait(0.01):
            for method, path in (
                ("GET", f"/v1/jobs/{job_id}"),
                ("GET", "/v1/jobs"),
                ("POST", f"/v1/jobs/{job_id}/cancel"),
            ):
                began = time.perf_counter()
                assert client.request(method, path).status_code in (200, 202)
                took.append(time.perf_counter() - began)
    return took


def submit(nursery: ServiceNursery, client: httpx.Client, name: str, program: str) -> str:
    """A job whose worker does what ``program`` says."""
    (nursery.workspace / f"{name}.py").write_text(program + TORCH_MODEL)
    (nursery.workspace / "data").mkdir(exist_ok=True)
    request = {"modelPath": f"{name}.py", "engine": "native", "dataConfig": {"trainPath": "data"}, "trainingConfig": {}}
    job_id: str = client.post("/v1/jobs", json=request).json()["jobId"]
    return job_id


async def follow_all(followers: list[Follower], nursery: ServiceNursery, chance: random.Random) -> None:
    """Let the job go on when everybody is there, and follow it to its end; a tenth of them again and again."""
    arrived, expected = asyncio.Semaphore(0), len(followers)

    def come(follower: Follower) -> Callable[[], None]:
        return lambda: arrived.release() if len(follower.seen) == 1 else None

    async def let_go() -> None:
        for _ in range(expected):
            await arrived.acquire()
        await asyncio.to_thread(open_gate, nursery.home / "jobs" / followers[0].job_id / "go")

    restless = followers[: CLIENTS // 10]
    await asyncio.gather(
        let_go(),
        *(one.come_and_go(come(one), random.Random(chance.getrandbits(32))) for one in restless),
        *(one.follow(come(one)) for one in followers[CLIENTS // 10 :]),
    )


@pytest.mark.torture
@pytest.mark.alone
def test_hundreds_of_followers_see_everything_once_and_others_are_answered(
    tmp_path: Path, chance: random.Random, record_property: Callable[[str, object], None]
):
    with services(tmp_path) as nursery, nursery.serving(slots=3, send_seconds=SEND_SECONDS) as service:
        with service.client() as client:
            job_id, loud = submit(nursery, client, "talks", TALKS), submit(nursery, client, "shouts", SHOUTS)
            quiet = submit(nursery, client, "quiet", "gate('go')\n")
            while client.get(f"/v1/jobs/{loud}").json()["lastSeq"] < 4000:
                client.get(f"/v1/jobs/{loud}", params={"wait": 0.1, "until": "epoch"})
        alone = connections(service)
        frozen = [freeze(service, loud) for _ in range(CLIENTS // 10)]
        followers = [Follower(service, job_id) for _ in range(CLIENTS - len(frozen))]
        enough, took = threading.Event(), list[float]()
        asking = threading.Thread(target=lambda: took.extend(ask_all_the_time(service, quiet, enough)))
        asking.start()
        try:
            asyncio.run(follow_all(followers, nursery, chance))
        finally:
            enough.set()
            asking.join(60)
        last = EVENTS + 1
        assert all(follower.seen == list(range(last + 1)) for follower in followers)
        # All that was theirs is given back, though they never left.
        deadline = time.monotonic() + 10
        while connections(service) > alone:
            assert time.monotonic() < deadline, (connections(service), alone)
        assert all(map(is_dropped, frozen))
        took.sort()
        p99 = took[int(0.99 * len(took))]
        record_property("clients", CLIENTS)
        record_property("gaps, doubles", 0)
        record_property("requests meanwhile", len(took))
        record_property("p50", f"{1000 * took[len(took) // 2]:.0f} ms")
        record_property("p99", f"{1000 * p99:.0f} ms")
        print(f"{len(took)} requests: p50 {took[len(took) // 2]:.3f} s, p99 {p99:.3f} s")
        assert len(took) >= 50
        assert p99 <= LONGEST_P99_SECONDS
