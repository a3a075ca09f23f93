"""Webhooks reach nothing inside: judged at creation and at each connection, whatever a name resolves to by then."""

import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.core.clock import ManualClock, SystemClock
from app.vocabulary import ChannelKind
from app.webhooks.rules import Address
from app.webhooks.sender import WebhookSender
from tests.support.muster import Site, pointers
from tests.support.notifications import WEBHOOKS, deliveries, happen, notify, notifying_site, webhook
from tests.support.receiver import Receiver, receiving, verify

KEYS = ["registration-key."]


class Names:
    """A resolver that a test tells what to answer; it counts how often it is asked."""

    def __init__(self, site: Site, **answers: Sequence[str]) -> None:
        self.answers: dict[str, Sequence[str]] = dict(answers)
        self.asked: list[str] = []
        site.app.state.targets.resolve = self.resolve

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError(-2, "Name or service not known")
        return [ipaddress.ip_address(text) for text in self.answers[host]]


@pytest.fixture
async def strict(site: Site) -> Site:
    """A site with a vault and the default rules: https, public addresses."""
    await site.vault()
    return site


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver without TLS."""
    async with receiving() as started:
        yield started


INSIDE: list[str] = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "0",
    "localhost",
    "10.0.0.5",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[::7f00:1]",
]


async def test_a_webhook_to_what_is_inside_is_refused_by_its_address(strict: Site, subtests: pytest.Subtests) -> None:
    for host in INSIDE:
        with subtests.test(host=host):
            reply = await strict.client.post(WEBHOOKS, json={"url": f"https://{host}/hook"})
            assert pointers(reply) == ["#/url"]
            assert "MUSTER_WEBHOOK_ALLOWED_NETWORKS" in reply.json()["detail"]
            assert await strict.walk(WEBHOOKS) == []


async def test_the_address_that_a_name_resolves_to_is_named(strict: Site) -> None:
    names = Names(strict, inside=["10.1.2.3"], half=["93.184.215.14", "fd00::7"], outside=["93.184.215.14"], void=[])
    for host, told in (
        ("inside", "'inside' at 10.1.2.3, which is private"),
        ("half", "'half' at fd00::7, which is private"),
        ("void", "has no address"),
        ("nowhere", "can't be resolved: Name or service not known"),
    ):
        reply = await strict.client.post(WEBHOOKS, json={"url": f"https://{host}/hook"})
        assert pointers(reply) == ["#/url"]
        assert told in reply.json()["errors"][0]["detail"]
    created = await webhook(strict, "https://outside/hook")
    changed = await strict.client.patch(f"{WEBHOOKS}/{created['id']}", json={"url": "https://inside/"})
    assert pointers(changed) == ["#/url"]
    assert names.asked == ["inside", "half", "void", "nowhere", "outside", "inside"]


async def test_nobody_without_the_right_makes_muster_ask_for_a_name(strict: Site) -> None:
    names = Names(strict, outside=["93.184.215.14"])
    for client in (strict.with_token(None), await strict.caller("reader")):
        assert (await client.post(WEBHOOKS, json={"url": "https://outside/"})).status_code in {401, 403}
    assert names.asked == []


async def test_a_name_that_turns_inside_later_is_not_followed(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    """DNS rebinding: public when the webhook is made, loopback when it is used. Loopback is not allowed here."""
    async with notifying_site(database_url, clock, tmp_path, webhook_allowed_networks="") as site:
        await site.vault()
        names = Names(site, rebinding=["93.184.215.14"])
        created = await webhook(site, f"http://rebinding:{receiver.port}/", eventTypes=KEYS)
        for address in ("127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"):
            names.answers["rebinding"] = [address]
            await happen(site)
            await notify(site)
        assert receiver.requests == []
        for entry in await deliveries(site, created):
            assert entry["state"] == "Pending"
            assert "not sent" in entry["lastError"]
            assert "'rebinding' at " in entry["lastError"]


async def test_the_connection_goes_to_the_very_address_that_was_judged(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    """A resolver that alternates can't slip a second answer in between judgement and connection."""
    async with notifying_site(database_url, clock, tmp_path, webhook_allowed_networks="127.0.0.1/32") as site:
        await site.vault()
        names = Names(site, flipping=["127.0.0.1"])
        await webhook(site, f"http://flipping:{receiver.port}/", eventTypes=KEYS)
        await happen(site)
        await notify(site)
        (received,) = receiver.requests
        assert received.headers["host"] == f"flipping:{receiver.port}"
        assert names.asked == ["flipping", "flipping"], "once when it is made, once for the connection, never again"


async def test_a_second_address_is_tried_when_the_first_is_dead(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    async with notifying_site(database_url, clock, tmp_path) as site:
        await site.vault()
        Names(site, twofold=["127.0.0.99", "127.0.0.1"])
        await webhook(site, f"http://twofold:{receiver.port}/", eventTypes=KEYS)
        await happen(site)
        await notify(site)
        assert len(receiver.requests) == 1


async def test_what_was_allowed_once_is_judged_by_the_settings_of_now(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    async with notifying_site(database_url, clock, tmp_path) as site:
        await site.vault()
        created = await webhook(site, receiver.url, eventTypes=KEYS)
        await happen(site)
    for told, settings in (
        ("https://", {"webhook_allow_http": False}),
        ("127.0.0.1", {"webhook_allowed_networks": "127.0.0.2/32"}),
    ):
        async with notifying_site(database_url, clock, tmp_path, **settings) as site:
            await notify(site)
            assert told in (await deliveries(site, created))[0]["lastError"]
            clock.advance(3600)
    assert receiver.requests == []


async def test_environment_proxies_are_not_asked(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with notifying_site(database_url, clock, tmp_path) as site:
        await site.vault()
        await webhook(site, receiver.url, eventTypes=KEYS)
        await happen(site)
        await notify(site)
    assert len(receiver.requests) == 1


def _certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's TLS context with a certificate for `name`, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = SystemClock().now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


async def test_tls_asks_for_the_certificate_of_the_name_although_the_address_is_pinned(
    database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    server, client = _certificate(tmp_path, "hooks.example.com")
    asked: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    settings = {"webhook_allow_http": False}
    async with notifying_site(database_url, clock, tmp_path, **settings) as site, receiving(server) as receiver:
        await site.vault()
        state = site.app.state
        Names(site, **{"hooks.example.com": ["127.0.0.1"], "other.example.com": ["127.0.0.1"]})
        state.senders[ChannelKind.WEBHOOK] = WebhookSender(state.settings, state.sealer, state.targets, client)
        good = await webhook(site, f"https://hooks.example.com:{receiver.port}/x", eventTypes=KEYS)
        bad = await webhook(site, f"https://other.example.com:{receiver.port}/x", eventTypes=KEYS)
        await happen(site)
        await notify(site)
        (received,) = receiver.requests
        verify(received, good["secret"], clock)
        assert set(asked) == {"hooks.example.com", "other.example.com"}
        (entry,) = await deliveries(site, bad)
        assert entry["state"] == "Pending"
        assert "certificate" in entry["lastError"].lower()


async def test_a_certificate_that_nobody_vouches_for_is_a_failure(
    database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    server, _ = _certificate(tmp_path, "hooks.example.com")
    async with notifying_site(database_url, clock, tmp_path) as site, receiving(server) as receiver:
        await site.vault()
        Names(site, **{"hooks.example.com": ["127.0.0.1"]})
        created = await webhook(site, f"https://hooks.example.com:{receiver.port}/x", eventTypes=KEYS)
        await happen(site)
        await notify(site)
        assert receiver.requests == []
        (entry,) = await deliveries(site, created)
        assert "self-signed certificate" in entry["lastError"]
