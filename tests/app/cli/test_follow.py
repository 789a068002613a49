"""Following a job through what happens to services and people: restarts, absences, signals."""

import signal
from pathlib import Path

import pytest

from app.cli.client import Address, Client
from app.cli.exits import Unreachable
from app.cli.follow import Follower, Line
from app.cli.interrupts import Terminated, interrupts_held, termination_raised
from tests.app.cli.command import SUCCEEDS, WAITS, RunningService, write_request
from tests.app.listening import listening


def client_of(service: RunningService) -> Client:
    return Client(Address(service.url, (service.settings.home / "token").read_text().strip()))


def submit(client: Client, folder: Path, program: str) -> str:
    return str(client.submit(write_request(folder, program).read_bytes(), "key")["jobId"])


def test_every_event_comes_once_and_in_order_over_a_restart(tmp_path: Path) -> None:
    clients: list[Client] = []
    with RunningService(tmp_path / "home", tmp_path) as first:
        client = client_of(first)
        job_id = submit(client, tmp_path, WAITS)
        events = iter(Follower(Line(client, lambda _outage: clients.pop()), job_id))
        seen = [next(events) for _ in range(3)]
        assert seen[-1]["type"] == "epoch.completed"
    with RunningService(tmp_path / "home", tmp_path) as second:
        clients.append(client_of(second))
        second.open_gate(job_id)
        seen.extend(events)
    assert [event["seq"] for event in seen] == list(range(len(seen)))
    assert seen[-1]["type"] == "job.completed"
    assert not clients


def test_a_follower_that_was_left_goes_on_where_it_was(tmp_path: Path) -> None:
    with RunningService(tmp_path / "home", tmp_path) as service:
        client = client_of(service)
        follower = Follower(Line(client, lambda _outage: client), submit(client, tmp_path, SUCCEEDS))
        stream = iter(follower)
        assert [next(stream)["seq"], next(stream)["seq"], next(stream)["seq"]] == [0, 1, 2]
        stream.close()
        # What was being handled when it was left comes again: nothing is missed.
        assert next(iter(follower))["seq"] == 2


@pytest.mark.alone
def test_a_service_that_stays_away_is_given_up_after_a_bounded_time(tmp_path: Path) -> None:
    with RunningService(tmp_path / "home", tmp_path) as service:
        client = client_of(service)
        job_id = submit(client, tmp_path, SUCCEEDS)
        list(Follower(Line(client, lambda _outage: client), job_id))
    outages: list[float] = []

    def away(outage: float) -> Client:
        outages.append(outage)
        raise Unreachable("nobody")

    with pytest.raises(Unreachable, match="No service answers at"):
        list(Follower(Line(client, away, patience=1.0), job_id))
    assert outages == sorted(outages)
    # Longer and longer pauses, not a loop: 0.1, 0.2 and 0.4 s fit into one second.
    assert len(outages) == 3


def test_the_same_key_names_the_same_job(tmp_path: Path) -> None:
    with RunningService(tmp_path / "home", tmp_path) as service:
        client = client_of(service)
        assert submit(client, tmp_path, SUCCEEDS) == submit(client, tmp_path, SUCCEEDS)


def interrupted(times: int, done: list[str]) -> None:
    with interrupts_held():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        done.append("all of it")


def test_a_held_interrupt_comes_at_the_end() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(1, done)
    assert done == ["all of it"]


def test_a_second_interrupt_is_not_held() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(2, done)
    assert done == []


def test_termination_is_raised_only_inside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), termination_raised():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_who_asks_too_often_comes_again_by_itself(tmp_path: Path) -> None:
    with listening(tmp_path, requests_per_minute=120) as service:
        address = Address(service.server.url, service.settings.token_file.read_text().strip())
        line = Line(Client(address), lambda _: Client(address))
        pages = [line.ask(lambda client: client.jobs()) for _ in range(121)]
        assert pages == [{"jobs": []}] * 121
        line.client.close()
