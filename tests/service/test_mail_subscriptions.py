"""Mail subscriptions, by a real SMTP exchange."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.core.clock import ManualClock
from app.core.db import Database
from app.core.wire import rfc3339
from app.events.service import Resource, record
from app.mail_subscriptions import sender as mail_sender
from app.vocabulary import EventType, ResourceKind, Severity
from tests.support.mail_server import MailServer, mail_server
from tests.support.muster import Site, pointers, problem
from tests.support.notifications import MAILS, VAULT, deliveries, happen, notify, notifying_site, read, send
from tests.support.processes import free_port

PASSWORD = "smtp-topsecret"


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    """A mail server that accepts everything."""
    async with mail_server() as started:
        yield started


def smtp(server: MailServer, **settings: Any) -> dict[str, Any]:
    """The settings to use that server."""
    return {
        "smtp_host": "127.0.0.1",
        "smtp_port": server.port,
        "smtp_tls": "none",
        "smtp_from": "muster@example.com",
        **settings,
    }


@pytest.fixture
async def mailing(database_url: str, clock: ManualClock, tmp_path: Path, server: MailServer) -> AsyncIterator[Site]:
    """A site with a vault that can send mail."""
    async with notifying_site(database_url, clock, tmp_path, **smtp(server)) as site:
        await site.vault()
        yield site


async def subscription(site: Site, *recipients: str, **members: Any) -> dict[str, Any]:
    """A new mail subscription: the answer to its creation."""
    body = {"recipients": list(recipients), "minimumSeverity": "Information", **members}
    reply = await site.client.post(MAILS, json=body)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


async def test_a_mail_subscription_as_a_resource(mailing: Site) -> None:
    reply = await mailing.client.post(MAILS, json={"recipients": ["ops@example.com", "OPS@example.com", "b@x.example"]})
    assert reply.status_code == 201, reply.text
    now = rfc3339(mailing.clock.now())
    created = reply.json()
    assert created == {
        "id": created["id"],
        "vault": "contoso",
        "recipients": ["ops@example.com", "b@x.example"],
        "description": "",
        "eventTypes": [],
        "minimumSeverity": "Warning",
        "enabled": True,
        "disabledAt": None,
        "disabledReason": None,
        "failingSince": None,
        "lastSequence": 1,
        "createdAt": now,
        "createdBy": "token:admin",
        "updatedAt": now,
    }
    path = f"{MAILS}/{created['id']}"
    assert reply.headers["location"] == path
    assert await mailing.walk(MAILS) == [created] == [await read(mailing, created, MAILS)]
    assert await mailing.walk(f"{VAULT}/webhooks") == [], "the two are lists of their own"
    problem(await mailing.client.get(f"{VAULT}/webhooks/{created['id']}"), 404, "webhook-not-found")
    etag = reply.headers["etag"]
    changed = await mailing.client.patch(path, json={"recipients": ["c@x.example"]}, headers={"If-Match": etag})
    assert changed.json()["recipients"] == ["c@x.example"]
    problem(await mailing.client.delete(path, headers={"If-Match": etag}), 412, "precondition-failed")
    assert (await mailing.client.delete(path)).status_code == 204
    for gone in (
        await mailing.client.get(path),
        await mailing.client.patch(path, json={"enabled": True}),
        await mailing.client.delete(path),
        await mailing.client.get(f"{path}/deliveries"),
        await mailing.client.post(f"{path}/test"),
    ):
        problem(gone, 404, "mail-subscription-not-found")
    events = await mailing.events(type="mail-subscription.")
    assert [event["type"].partition(".")[2] for event in events] == ["created", "updated", "deleted"]
    assert events[1]["data"] == {"recipients": 1}
    assert "example" not in str(events), "addresses of people are not for the record"


NO_PLAIN_ADDRESSES: list[str] = [
    "",
    "ops",
    "@example.com",
    "ops@",
    "ops@@example.com",
    "Ops <ops@example.com>",
    "a@x.example, b@x.example",
    "ops@example.com\nBcc: all@example.com",
    "ops@example.com\r\nSubject: x",
    "ops @example.com",
    '"a b"@x.example',
    "a..b@x.example",
    ".a@x.example",
    "a@-x.example",
    "a@x..example",
    "öps@example.com",
    "ops@exämple.com",
    f"{'a' * 65}@x.example",
    f"a@{'x' * 64}.example",
    f"a@{'x.' * 130}example",
]


async def test_what_is_no_plain_address_is_refused(mailing: Site, subtests: pytest.Subtests) -> None:
    for recipient in NO_PLAIN_ADDRESSES:
        with subtests.test(recipient=recipient):
            reply = await mailing.client.post(MAILS, json={"recipients": ["good@example.com", recipient]})
            assert pointers(reply) == ["#/recipients/1"]
            assert await mailing.walk(MAILS) == []


async def test_wrong_subscriptions_are_refused(mailing: Site) -> None:
    for body, pointer in (
        ({}, "#/recipients"),
        ({"recipients": []}, "#/recipients"),
        ({"recipients": [f"a{number}@x.example" for number in range(51)]}, "#/recipients"),
        ({"recipients": ["a@x.example"], "eventTypes": ["nothing."]}, "#/eventTypes/0"),
        ({"recipients": ["a@x.example"], "url": "https://x.example"}, "#/url"),
    ):
        assert pointers(await mailing.client.post(MAILS, json=body)) == [pointer], body


async def test_without_a_mail_server_there_are_no_subscriptions(site: Site) -> None:
    await site.vault()
    reply = await site.client.post(MAILS, json={"recipients": ["ops@example.com"]})
    assert "MUSTER_SMTP_HOST" in problem(reply, 409, "mail-not-configured")["detail"]


async def test_each_recipient_gets_a_clear_mail_of_its_own(mailing: Site, server: MailServer) -> None:
    await subscription(mailing, "ops@example.com", "night@example.com", eventTypes=["process-server."])
    registered = await mailing.process_server(await mailing.configuration_server())
    await notify(mailing)
    server.mails.clear()
    await mailing.beat(registered)
    await mailing.pass_time(905)
    await notify(mailing)
    mails = [mail for mail in server.mails if "disconnected" in mail.message["Subject"]]
    assert sorted(mail.recipients[0] for mail in mails) == ["night@example.com", "ops@example.com"]
    mail = mails[0]
    (event,) = await mailing.events(type="process-server.disconnected")
    assert mail.sender == "muster@example.com"
    assert mail.message["From"] == "Muster <muster@example.com>"
    assert mail.message["To"] == mail.recipients[0]
    assert mail.message["Subject"] == "[Muster contoso] Critical: process-server.disconnected ps-1"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message["Date"].datetime == mailing.clock.now()
    assert len({one.message["Message-ID"] for one in mails}) == 2
    assert len({one.message["X-Muster-Message"] for one in mails}) == 1
    assert mail.message.get_content_type() == "text/plain"
    lines = mail.text.splitlines()
    assert lines[0] == event["message"]
    for name, value in (
        ("Severity", "Critical"),
        ("Time", event["time"]),
        ("Type", "process-server.disconnected"),
        ("Resource", f"process-server ps-1 ({event['resource']['id']})"),
        ("Actor", "monitor"),
        ("Number", str(event["sequence"])),
        ("Vault", "/api/v1/vaults/contoso"),
    ):
        assert f"{name + ':':<10}{value}" in lines
    assert f"    timeoutSeconds: {event['data']['timeoutSeconds']}" in lines


async def test_nothing_that_others_wrote_becomes_a_header(mailing: Site, server: MailServer) -> None:
    await subscription(mailing, "ops@example.com", eventTypes=["vault.updated"])
    hostile = "x\r\nBcc: all@example.com\r\n\r\n.\r\nMAIL FROM:<evil@example.com>\u2028\x1b[31m é" + "y" * 900
    database: Database = mailing.app.state.database
    vault_id = uuid.UUID((await mailing.client.get(VAULT)).json()["id"])
    async with database.write() as session:
        record(
            session, vault_id, mailing.clock.now(), EventType.VAULT_UPDATED,
            Resource(ResourceKind.VAULT, vault_id, hostile[:63]), actor=hostile[:200],
            message=hostile, severity=Severity.CRITICAL, data={hostile[:40]: hostile, "ok": [1, {"b": None}]},
        )  # fmt: skip
    await notify(mailing)
    (mail,) = server.mails
    assert mail.recipients == ["ops@example.com"]
    assert set(mail.message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Muster-Message",
        "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    }  # fmt: skip
    assert "\n" not in mail.message["Subject"]
    assert "Bcc: all@example.com" not in mail.raw.decode().splitlines()
    assert max(len(line) for line in mail.raw.splitlines()) <= 998
    assert "é" in mail.text
    assert "\x1b" not in mail.text


async def test_a_digest_is_one_mail(database_url: str, clock: ManualClock, tmp_path: Path, server: MailServer) -> None:
    async with notifying_site(
        database_url, clock, tmp_path, **smtp(server), digest_threshold=3, brake_minimum_servers=1000
    ) as site:
        await site.vault()
        await subscription(site, "ops@example.com", eventTypes=["process-server.disconnected"])
        configuration_server = await site.configuration_server()
        agents = [await site.process_server(configuration_server, f"ps-{number}") for number in range(4)]
        for agent in agents:
            await site.beat(agent)
        await site.pass_time(905)
        await notify(site)
        (mail,) = server.mails
        assert mail.message["Subject"] == "[Muster contoso] Critical: 4 events on the site of cs-1"
        lines = mail.text.splitlines()
        assert lines[0] == "4 events on the site of configuration server cs-1: 4 process-server.disconnected"
        assert "    4 process-server.disconnected" in lines
        assert "Names (4)" in lines
        assert [line.strip() for line in lines if line.startswith("    ps-")] == ["ps-0", "ps-1", "ps-2", "ps-3"]


async def test_login_and_password_are_used_and_shown_nowhere(
    database_url: str,
    clock: ManualClock,
    tmp_path: Path,
    server: MailServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    login = {"smtp_username": "muster", "smtp_password": PASSWORD}
    async with notifying_site(database_url, clock, tmp_path, **smtp(server, **login)) as site:
        await site.vault()
        created = await subscription(site, "ops@example.com", eventTypes=["registration-key."])
        server.replies["AUTH"] = "535 bad credentials"
        await happen(site)
        await notify(site)
        (entry,) = await deliveries(site, created, MAILS)
        assert (entry["state"], entry["lastStatus"]) == ("Pending", 535), "the operator may mend it"
        del server.replies["AUTH"]
        clock.advance(60)
        await send(site)
        assert server.logins == [f"\0muster\0{PASSWORD}"] * 2
        assert len(server.mails) == 1
        settings = site.app.state.settings
        told = f"{entry} {await site.events()} {settings!r} {settings.masked('smtp_password')}"
    captured = capfd.readouterr()
    assert PASSWORD not in told + captured.out + captured.err


@pytest.mark.parametrize(
    ("where", "reply", "state", "status"),
    [
        ("RCPT", "550 no such user", "Failed", 550),
        ("RCPT", "451 greylisted", "Pending", 451),
        ("MAIL", "553 not from you", "Failed", 553),
        ("MAIL", "452 full", "Pending", 452),
        (".", "554 spam", "Failed", 554),
        (".", "452 full", "Pending", 452),
        (".", "DIE", "Pending", None),
        ("CONNECT", "421 busy", "Pending", 421),
        ("CONNECT", "nonsense", "Pending", None),
    ],
)
async def test_refusals_for_good_end_a_delivery_and_others_are_tried_again(
    mailing: Site, server: MailServer, where: str, reply: str, state: str, status: int | None
) -> None:
    created = await subscription(mailing, "ops@example.com", eventTypes=["registration-key."])
    server.replies[where] = reply
    await happen(mailing)
    await notify(mailing)
    (entry,) = await deliveries(mailing, created, MAILS)
    assert entry["state"] == state
    if status is not None:
        assert entry["lastStatus"] == status
    assert entry["lastError"]
    server.replies.clear()
    mailing.manual_clock.advance(60)
    await send(mailing)
    (entry,) = await deliveries(mailing, created, MAILS)
    assert entry["state"] == ("Failed" if state == "Failed" else "Delivered")
    assert len(server.mails) == (0 if state == "Failed" else 1)


async def test_a_recipient_that_is_refused_keeps_no_other_from_its_mail(mailing: Site, server: MailServer) -> None:
    created = await subscription(mailing, "a@x.example", "b@x.example", eventTypes=["registration-key."])
    server.replies["a@x.example"] = "451 greylisted"
    await happen(mailing)
    await notify(mailing)
    assert [mail.recipients for mail in server.mails] == [["b@x.example"]]
    server.replies.clear()
    mailing.manual_clock.advance(60)
    await send(mailing)
    assert [mail.recipients for mail in server.mails] == [["b@x.example"], ["a@x.example"]], "nobody gets it twice"
    assert {entry["recipient"] for entry in await deliveries(mailing, created, MAILS)} == {"a@x.example", "b@x.example"}


async def test_a_recipient_that_is_taken_out_gets_nothing_more(mailing: Site, server: MailServer) -> None:
    created = await subscription(mailing, "a@x.example", "b@x.example", eventTypes=["registration-key."])
    server.replies["RCPT"] = "451 later"
    await happen(mailing)
    await notify(mailing)
    await mailing.client.patch(f"{MAILS}/{created['id']}", json={"recipients": ["b@x.example"]})
    server.replies.clear()
    mailing.manual_clock.advance(60)
    await send(mailing)
    assert [mail.recipients for mail in server.mails] == [["b@x.example"]]
    states = {entry["recipient"]: entry["state"] for entry in await deliveries(mailing, created, MAILS)}
    assert states == {"a@x.example": "Cancelled", "b@x.example": "Delivered"}


async def test_a_test_mail_goes_to_each_recipient(mailing: Site, server: MailServer) -> None:
    created = await subscription(mailing, "a@x.example", "b@x.example", eventTypes=["job."])
    queued = await mailing.client.post(f"{MAILS}/{created['id']}/test")
    assert queued.status_code == 202, queued.text
    assert [entry["recipient"] for entry in queued.json()["deliveries"]] == ["a@x.example", "b@x.example"]
    await notify(mailing)
    assert {mail.message["Subject"] for mail in server.mails} == {"[Muster contoso] Test"}
    assert len(server.mails) == 2


async def test_five_days_without_a_success_disable_a_subscription(mailing: Site, server: MailServer) -> None:
    created = await subscription(mailing, "ops@example.com", eventTypes=["registration-key."])
    server.replies["RCPT"] = "451 later"
    for _ in range(6):
        await happen(mailing)
        for _ in range(12):
            await notify(mailing)
            mailing.manual_clock.advance(7_200)
    assert not (await read(mailing, created, MAILS))["enabled"]
    (event,) = await mailing.events(type="mail-subscription.disabled")
    assert "451" in event["data"]["reason"]


async def test_a_mail_server_that_is_down_or_mute_is_a_failure(
    database_url: str, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_sender, "ATTEMPT_SECONDS", 0.3)
    mute = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    settings = {"smtp_host": "127.0.0.1", "smtp_tls": "none", "smtp_from": "muster@example.com"}
    for port, told in ((free_port(), "can't be used"), (mute.sockets[0].getsockname()[1], "no answer")):
        async with notifying_site(database_url, clock, tmp_path, **settings, smtp_port=port) as site:
            if port != mute.sockets[0].getsockname()[1]:
                await site.vault()
            created = await subscription(site, "ops@example.com", eventTypes=["registration-key."])
            await happen(site)
            await notify(site)
            entries = await deliveries(site, created, MAILS)
            assert told in entries[0]["lastError"]
    mute.close()
    clock.advance(timedelta(hours=1).total_seconds())
    async with notifying_site(database_url, clock, tmp_path) as site:
        await notify(site)
        assert "MUSTER_SMTP_HOST" in (await deliveries(site, created, MAILS))[0]["lastError"]


async def test_a_server_without_tls_gets_nothing_when_tls_is_wanted(
    database_url: str, clock: ManualClock, tmp_path: Path, server: MailServer
) -> None:
    login = {"smtp_username": "muster", "smtp_password": PASSWORD, "smtp_tls": "starttls"}
    async with notifying_site(database_url, clock, tmp_path, **smtp(server, **login)) as site:
        await site.vault()
        created = await subscription(site, "ops@example.com", eventTypes=["registration-key."])
        await happen(site)
        await notify(site)
        assert "STARTTLS" in (await deliveries(site, created, MAILS))[0]["lastError"]
    assert server.logins == []
    assert server.mails == []
