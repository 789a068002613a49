"""A secret that is replaced: both sign for a while, then the new one alone; without a restart, and with nothing lost."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.clock import from_now
from app.webhooks.secret import MOST_SECRETS, Secret, Secrets, read_or_make_secrets, replace_secret
from tests.app.cli.command import command
from tests.app.listening import WHOLE, Listening, listening
from tests.app.webhooks.receiver import Received, receiving
from tests.app.webhooks.test_sending import documented_verify


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Listening]:
    with listening(tmp_path, webhook_hosts=("127.0.0.1",), webhook_first_wait_seconds=0.02) as running:
        yield running


def rotate(service: Listening, *words: str) -> str:
    """The new secret, as the command prints it."""
    done = command(service.settings.home, "webhook", "rotate", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def takes(secret: str, message: Received) -> bool:
    """Whether the documented receiver that has ``secret`` takes the message."""
    try:
        documented_verify()(secret, message.headers, message.body)
    except ValueError:
        return False
    return True


def test_the_old_secret_signs_beside_the_new_one_until_it_ends(service: Listening):
    def told() -> Received:
        with receiving(204) as receiver:
            service.submit(WHOLE, notify=[{"url": receiver.url()}])
            return receiver.next()

    first = command(service.settings.home, "webhook", "secret").stdout.strip()
    assert takes(first, told())
    second = rotate(service)
    assert second != first
    message = told()
    assert (takes(first, message), takes(second, message)) == (True, True)
    assert [part[:3] for part in message.headers["webhook-signature"].split(" ")] == ["v1,", "v1,"]
    third = rotate(service, "--overlap", "0s")
    message = told()
    assert [takes(secret, message) for secret in (first, second, third)] == [False, False, True]
    assert " " not in message.headers["webhook-signature"]


def test_what_is_sent_again_is_signed_with_what_is_in_force_then(service: Listening):
    turned = threading.Event()
    with receiving(500, 204, gate=turned) as receiver:
        service.submit(WHOLE, notify=[{"url": receiver.url()}])
        before, secret = receiver.next(), rotate(service, "--overlap", "0s")
        turned.set()
        after = receiver.next()
    assert (takes(secret, before), takes(secret, after)) == (False, True)
    assert before.headers["webhook-id"] == after.headers["webhook-id"]


def test_the_command_says_what_signs_beside_the_new_one(tmp_path: Path):
    old = command(tmp_path, "webhook", "secret").stdout.strip()
    done = command(tmp_path, "webhook", "rotate", "--overlap", "2d", "--json")
    said = json.loads(done.stdout)
    assert (done.stderr, [each["secret"] for each in said["replaced"]]) == ("", [old])
    shown = command(tmp_path, "webhook", "secret")
    assert shown.stdout.strip() == said["secret"]
    assert shown.stderr == f"One that was replaced signs beside it until {said['replaced'][0]['until']}.\n"
    assert Path(said["path"]).stat().st_mode & 0o777 == 0o600
    refused = command(tmp_path, "webhook", "rotate", "--overlap", "soon")
    assert (refused.returncode, "such as 12h" in refused.stderr) == (2, True)


def test_the_end_of_a_secret_comes_sooner_and_never_later(tmp_path: Path):
    path = tmp_path / "webhook-secret"
    (first,) = read_or_make_secrets(path)
    _, short = replace_secret(path, 60)
    second, kept = replace_secret(path, 86_400)[1:]
    assert (kept, short.text) == (short, first.text)
    assert second.until is not None
    assert kept.until is not None
    assert kept.until < second.until
    over = path.read_text().replace(kept.until, from_now(-1))
    path.write_text(over)
    assert first.text not in Secrets(path).in_force()
    assert len(read_or_make_secrets(path)) == 2


def test_no_more_secrets_than_a_header_should_hold(tmp_path: Path):
    path = tmp_path / "webhook-secret"
    read_or_make_secrets(path)
    while len(replace_secret(path, 60)) < MOST_SECRETS:
        pass
    before = path.read_text()
    with pytest.raises(ValueError, match="--overlap 0s"):
        replace_secret(path, 60)
    assert path.read_text() == before
    assert len(replace_secret(path, 0)) == 1


def test_those_that_replace_it_at_once_lose_none(tmp_path: Path):
    path = tmp_path / "webhook-secret"
    read_or_make_secrets(path)
    with ThreadPoolExecutor(MOST_SECRETS - 1) as threads:
        made = list(threads.map(lambda _: replace_secret(path, 60)[0].text, range(MOST_SECRETS - 1)))
    assert {secret.text for secret in read_or_make_secrets(path)} > set(made)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("spoilt", ["", "canary\n", "SECRET\nSECRET\n", "SECRET\nSECRET tomorrow-canary\n"])
def test_a_spoilt_file_is_refused_at_the_start_and_said_later(
    tmp_path: Path, spoilt: str, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "webhook-secret"
    secrets = Secrets(path)
    known = secrets.in_force()
    path.write_text(spoilt.replace("SECRET", known[0]))
    with pytest.raises(ValueError, match="webhook-secret") as error:
        Secrets(path)
    assert secrets.in_force() == known
    assert "signed as before" in caplog.text
    assert "canary" not in caplog.text + str(error.value)
    path.write_text(Secret(known[0]).text + "\n")
    assert secrets.in_force() == known
