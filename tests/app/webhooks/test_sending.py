"""One POST: signed as the specification says, to the right name, bounded, followed nowhere."""

import asyncio
import base64
import datetime
import re
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.webhooks.secret import key_of, read_or_make_secrets
from app.webhooks.sending import Answer, Sender
from app.webhooks.signing import headers_of
from app.webhooks.targets import Targets
from tests.app.webhooks.receiver import receiving
from tests.ports import nobody

PAGE = (Path(__file__).parents[3] / "docs/operating.md").read_text()


def documented_verify() -> Callable[..., None]:
    """The function that the documentation shows to receivers."""
    found: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], found)  # type: ignore[index]
    verify: Callable[..., None] = found["verify"]
    return verify


def post(url: str, *, seconds: float = 60.0, trust: ssl.SSLContext | bool = True, **targets: Any) -> Answer:
    """How a POST goes."""

    async def send() -> Answer:
        sender = Sender(Targets(**{"allowed": ["127.0.0.1"], **targets}), seconds, trust)
        try:
            return await sender.post(url, b'{"a":1}', {"webhook-id": "msg_1"})
        finally:
            await sender.close()

    return asyncio.run(send())


def test_a_signature_is_that_of_the_specification():
    """The example of the specification's reference libraries."""
    body = b'{"test": 2432232314}'
    headers = headers_of(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_documented_snippet_takes_what_is_signed_and_nothing_else():
    verify, secret, moment = documented_verify(), "whsec_" + base64.b64encode(bytes(32)).decode(), int(time.time())
    headers, body = headers_of([secret], "msg_1", moment, b"{}"), b"{}"
    verify(secret, headers, body)
    verify(secret, {**headers, "webhook-signature": f"v1,AAAA v2,x {headers['webhook-signature']}"}, body)
    old = headers_of([secret], "msg_1", moment - 600, body)
    for given, content in (
        (headers, b"{ }"),
        ({**headers, "webhook-id": "msg_2"}, body),
        ({**headers, "webhook-timestamp": str(moment + 1)}, body),
        ({**headers, "webhook-signature": ""}, body),
        (headers_of(["whsec_" + base64.b64encode(bytes(31) + b"x").decode()], "msg_1", moment, body), body),
        (old, body),
    ):
        with pytest.raises(ValueError, match=r"signature|old"):
            verify(secret, given, content)


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path):
    path = tmp_path / "home" / "webhook-secret"
    (secret,) = read_or_make_secrets(path)
    assert len(key_of(secret.text)) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_or_make_secrets(path) == [secret]
    assert [file.name for file in path.parent.iterdir()] == ["webhook-secret"]
    path.write_text("not-a-secret-canary\n")
    with pytest.raises(ValueError, match="delete it") as error:
        read_or_make_secrets(path)
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_taken(status: int):
    with receiving(status) as receiver:
        assert post(receiver.url()) == Answer(status)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
def test_anything_else_is_not_and_a_redirect_is_not_followed(status: int):
    with (
        receiving(204) as elsewhere,
        receiving((status, {"Location": elsewhere.url(), "Retry-After": "7"})) as receiver,
    ):
        answer = post(receiver.url())
        assert (answer.status, answer.taken, answer.retry_after) == (status, False, 7.0)
        assert receiver.next().body == b'{"a":1}'
        assert receiver.nothing_more()
        assert elsewhere.nothing_more()


@pytest.mark.alone
def test_an_answer_without_an_end_is_not_read():
    with receiving(200, endless=True) as receiver:
        began = time.monotonic()
        assert post(receiver.url()).taken
        assert time.monotonic() - began < 4


def test_a_receiver_that_does_not_answer_is_left():
    gate = threading.Event()
    with receiving(200, gate=gate) as receiver:
        assert post(receiver.url(), seconds=0.2) == Answer(error="No answer within 0.2 s.")
        gate.set()


def test_nobody_there_is_an_answer_too():
    with nobody() as port:
        answer = post(f"http://127.0.0.1:{port}/hook")
    assert (answer.error or "").startswith("ConnectError")


def certificate_of(name: str, folder: Path) -> Path:
    """A certificate for ``name`` with its key, signed by itself."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return path


def test_tls_is_spoken_with_the_name_though_the_address_is_pinned(tmp_path: Path):
    path, names = certificate_of("hooks.example", tmp_path), []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    server.sni_callback = lambda _socket, name, _context: names.append(name)  # type: ignore[assignment]
    with receiving(204, tls=server) as receiver:
        trusting: dict[str, Any] = {
            "trust": ssl.create_default_context(cafile=str(path)),
            "resolver": lambda *_: ["127.0.0.1"],
        }
        good = post(f"https://hooks.example:{receiver.port}/", allowed=["hooks.example"], **trusting)
        other = post(f"https://other.example:{receiver.port}/", allowed=["other.example"], **trusting)
        stranger = post(
            f"https://hooks.example:{receiver.port}/", allowed=["hooks.example"], resolver=lambda *_: ["127.0.0.1"]
        )
        assert receiver.next().headers["host"] == f"hooks.example:{receiver.port}"
        assert receiver.nothing_more()
    assert good == Answer(204)
    assert names == ["hooks.example", "other.example", "hooks.example"]
    assert "Hostname mismatch" in (other.error or "")
    assert "certificate verify failed" in (stranger.error or "")
