"""Where a webhook may go, and that what was looked at is what is connected to."""

import asyncio
import ipaddress
import random
import socket
from collections.abc import Sequence

import pytest

from app.webhooks.addresses import is_public
from app.webhooks.sending import Answer, Sender
from app.webhooks.targets import Forbidden, Targets
from tests.app.webhooks.receiver import receiving

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.15.255.255",
    "172.32.0.0",
    "100.63.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "2a00::1",
]
NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "127.0.0.1", "127.255.255.254", "100.64.0.1", "169.254.169.254", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255"),
    *("198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1"),
    *("2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0"),
    *("fec0::1", "ff02::1"),
]
REFUSED = [
    *("http://example.com/", "ftp://example.com/", "https://", "https:///x", "example.com/hook", "//example.com", "", "x"),
    *("https://user@example.com/", "https://user:secret@example.com/", "https://example.com/#x", "https://example.com/ x"),
    *("https://localhost/", "https://LOCALHOST/", "https://intranet/hook", "https://localhost./", "https://ex ample.com/"),
    *("https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/"),
    *("https://0177.0.0.1/", "https://017700000001/", "https://127.0.0.1./", "https://0/", "https://0x/", "https://1.2.3/"),
    *("https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[fe80::1%25eth0]/", "https://[::]/"),
    *("https://169.254.169.254/latest/meta-data", "https://10.0.0.1:8443/", "https://１２７.0.0.1/", "https://①.com/"),
    *("https://%31%32%37.0.0.1/", "https://exa%00mple.com/", "https://example.com\n/", "https://example.com:99999/"),
    *("https://[1.1.1.1]/", "https://[::1/", "javascript:alert(1)", "https:example.com", "file:///etc/passwd"),
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_one(address: str):
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_inside_is_none(address: str):
    assert not is_public(address)


def test_no_address_that_the_standard_library_calls_private_is_public():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    addresses = [ipaddress.IPv4Address(drawn.getrandbits(32)) for _ in range(20_000)]
    wide = [ipaddress.IPv6Address(drawn.getrandbits(128)) for _ in range(5_000)]
    for address in [*addresses, *wide]:
        if is_public(str(address)):
            assert address.is_global, address
            assert not any((address.is_multicast, address.is_reserved, address.is_loopback, address.is_link_local))


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_leads_inside_or_nowhere_is_refused_by_its_spelling(url: str):
    asked: list[str] = []

    def resolver(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["1.1.1.1"]

    assert Targets((), resolver).flaw(url) is not None
    assert asyncio.run(post(Targets((), resolver), url)).error is not None
    assert asked == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://example.com:8443/a?b=c",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]/",
        "https://Ex-ample.co_m/",
    ],
)
def test_a_url_that_leads_outwards_is_taken(url: str):
    assert Targets((), lambda host, port: ["1.1.1.1"]).flaw_now(url) is None


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["::1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"]]
)
def test_a_name_that_leads_inside_is_refused_whatever_else_it_leads_to(found: list[str]):
    targets = Targets((), lambda host, port: found)
    assert "not at a public address" in (targets.flaw_now("https://rebind.example/") or "")
    with pytest.raises(Forbidden):
        targets.addresses("rebind.example", 443)
    answer = asyncio.run(post(targets, "https://rebind.example/"))
    assert answer.status is None
    assert (answer.error or "").startswith("Not sent: rebind.example is not at a public address")


def test_a_name_that_cannot_be_resolved_now_is_looked_at_when_something_is_sent():
    def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    targets = Targets((), unknown)
    assert targets.flaw_now("https://later.example/") is None
    assert "Name or service not known" in (asyncio.run(post(targets, "https://later.example/")).error or "")


def test_an_allowed_host_may_be_inside_and_without_tls():
    targets = Targets(("127.0.0.1", "Hooks.lan"), lambda host, port: ["127.0.0.1"])
    assert targets.flaw_now("http://127.0.0.1:1234/x") is None
    assert targets.flaw_now("https://hooks.LAN/x") is None
    assert targets.flaw("http://127.0.0.2/") is not None
    assert targets.flaw("ftp://127.0.0.1/") is not None


def test_the_address_that_was_looked_at_is_the_one_that_is_connected_to():
    """A name that leads elsewhere at the next question: there is none."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"], ["127.0.0.3"]])
    asked = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return next(answers)

    with receiving(204) as receiver:
        targets = Targets(("rebinding.example",), rebinding)
        answer = asyncio.run(post(targets, f"http://rebinding.example:{receiver.port}/hook"))
        got = receiver.next()
    assert answer == Answer(204)
    assert asked == [("rebinding.example", receiver.port)]
    assert got.headers["host"] == f"rebinding.example:{receiver.port}"


def test_a_host_is_reached_at_another_of_its_addresses_when_the_first_does_not_answer():
    with receiving(200) as receiver:
        targets = Targets(("two.example",), lambda host, port: ["127.0.0.2", "127.0.0.1"])
        assert asyncio.run(post(targets, f"http://two.example:{receiver.port}/")).taken


async def post(targets: Targets, url: str, **sending: object) -> Answer:
    """How a POST of nothing much goes."""
    sender = Sender(targets, **{"seconds": 60.0, **sending})  # type: ignore[arg-type]
    try:
        return await sender.post(url, b"{}", {})
    finally:
        await sender.close()
