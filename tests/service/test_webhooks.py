"""Webhooks as a resource: created, read, changed, deleted; secrets shown once, encrypted, rotated."""

import asyncio
import base64
import logging
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from standardwebhooks.webhooks import WebhookVerificationError

from app.core import log as logs
from app.core.clock import ManualClock
from app.core.db import Database
from app.core.setting_types import LogFormat, LogLevel
from app.core.wire import rfc3339
from app.models import NotificationChannel
from tests.support.muster import Site, new_site, pointers, problem
from tests.support.notifications import (
    HERE,
    WEBHOOKS,
    deliveries,
    happen,
    notify,
    notifying_site,
    read,
    send,
    webhook,
)
from tests.support.receiver import Receiver, answer, receiving, verify

# TEST-NET-3 is refused, so a public address that needs no resolver; nothing is ever sent to it.
PUBLIC = "https://93.184.215.14/hook"
OLD_KEY = base64.urlsafe_b64encode(bytes(32)).decode()
NEW_KEY = base64.urlsafe_b64encode(bytes([7]) * 32).decode()


@pytest.fixture
async def hooked(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Site]:
    """A site with a vault that may send to loopback."""
    async with notifying_site(database_url, clock, tmp_path) as site:
        await site.vault()
        yield site


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything."""
    async with receiving() as started:
        yield started


async def test_a_webhook_and_its_secret(site: Site, database: Database) -> None:
    await site.vault()
    created = await webhook(site, PUBLIC, description="on-call", eventTypes=["process-server.", "process-server."])
    secret = created.pop("secret")
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    now = rfc3339(site.clock.now())
    assert created == {
        "id": created["id"],
        "vault": "contoso",
        "url": PUBLIC,
        "description": "on-call",
        "eventTypes": ["process-server."],
        "minimumSeverity": "Information",
        "enabled": True,
        "disabledAt": None,
        "disabledReason": None,
        "failingSince": None,
        "previousSecretValidUntil": None,
        "lastSequence": 1,
        "createdAt": now,
        "createdBy": "token:admin",
        "updatedAt": now,
    }
    assert await site.walk(WEBHOOKS) == [created]
    assert await read(site, created) == created
    (event,) = await site.events(type="webhook.")
    assert (event["type"], event["resource"]["name"]) == ("webhook.created", "93.184.215.14")
    assert event["data"] == {"eventTypes": ["process-server."], "minimumSeverity": "Information"}
    async with database.read() as session:
        row = (await session.execute(select(NotificationChannel))).scalar_one()
    assert secret not in f"{row.secret}{row.previous_secrets}"
    key_file = Path(site.app.state.settings.data_dir) / "secret-key"
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key_file.parent.glob("secret-key*")] == ["secret-key"]


async def test_creation_answers_where_it_is_and_once(site: Site) -> None:
    await site.vault()
    headers = {"Idempotency-Key": "one"}
    first, second = [await site.client.post(WEBHOOKS, json={"url": PUBLIC}, headers=headers) for _ in range(2)]
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    for reply in (first, second):
        assert reply.headers["location"] == f"{WEBHOOKS}/{first.json()['id']}"
        assert reply.headers["etag"].startswith('"')
    assert len(await site.walk(WEBHOOKS)) == 1
    other = await site.client.post(WEBHOOKS, json={"url": PUBLIC, "description": "x"}, headers=headers)
    problem(other, 409, "idempotency-key-reused")


async def test_wrong_webhooks_are_refused(site: Site) -> None:
    await site.vault()
    for body, pointer in (
        ({}, "#/url"),
        ({"url": ""}, "#/url"),
        ({"url": "hooks.example.com"}, "#/url"),
        ({"url": "ftp://93.184.215.14/"}, "#/url"),
        ({"url": "http://93.184.215.14/"}, "#/url"),
        ({"url": "https:///path"}, "#/url"),
        ({"url": "https://user:topsecret@93.184.215.14/"}, "#/url"),
        ({"url": "https://93.184.215.14:99999/"}, "#/url"),
        ({"url": "https://93.184.215.14/#top"}, "#/url"),
        ({"url": f"https://93.184.215.14/{'x' * 2000}"}, "#/url"),
        ({"url": PUBLIC, "eventTypes": ["process-server"]}, "#/eventTypes/0"),
        ({"url": PUBLIC, "eventTypes": ["process-server.exploded"]}, "#/eventTypes/0"),
        ({"url": PUBLIC, "eventTypes": ["vault."] * 51}, "#/eventTypes"),
        ({"url": PUBLIC, "minimumSeverity": "Bad"}, "#/minimumSeverity"),
        ({"url": PUBLIC, "secret": "whsec_mine"}, "#/secret"),
    ):
        reply = await site.client.post(WEBHOOKS, json=body)
        assert pointers(reply) == [pointer], body
        assert "topsecret" not in reply.text
    assert await site.walk(WEBHOOKS) == []
    problem(await site.client.post("/api/v1/vaults/nowhere/webhooks", json={"url": PUBLIC}), 404, "vault-not-found")
    nobody = f"{WEBHOOKS}/{uuid.uuid4()}"
    for reply in (
        await site.client.get(nobody),
        await site.client.patch(nobody, json={"enabled": False}),
        await site.client.delete(nobody),
        await site.client.get(f"{nobody}/deliveries"),
        await site.client.post(f"{nobody}/test"),
        await site.client.post(f"{nobody}/rotate-secret"),
    ):
        problem(reply, 404, "webhook-not-found")


async def test_a_webhook_of_another_vault_is_not_found(site: Site) -> None:
    await site.vault()
    await site.vault("fabrikam")
    created = await webhook(site, PUBLIC)
    problem(await site.client.get(f"/api/v1/vaults/fabrikam/webhooks/{created['id']}"), 404, "webhook-not-found")
    stranger = await site.caller("operator", "fabrikam")
    problem(await stranger.get(f"{WEBHOOKS}/{created['id']}"), 404, "vault-not-found")


async def test_changes_need_the_present_revision(site: Site) -> None:
    await site.vault()
    created = await webhook(site, PUBLIC)
    path = f"{WEBHOOKS}/{created['id']}"
    stale = (await site.client.get(path)).headers["etag"]
    site.manual_clock.advance(1)
    change = {"eventTypes": ["vault."], "minimumSeverity": "Warning", "url": "https://93.184.215.15/x"}
    changed = await site.client.patch(path, json=change, headers={"If-Match": stale})
    assert changed.status_code == 200, changed.text
    assert changed.json() == await read(site, created)
    assert {key: changed.json()[key] for key in change} == change
    assert changed.json()["updatedAt"] != changed.json()["createdAt"]
    assert changed.headers["etag"] != stale
    same = await site.client.patch(path, json=change)
    assert same.headers["etag"] == changed.headers["etag"], "what changes nothing is no revision"
    for reply in (
        await site.client.patch(path, json={"enabled": False}, headers={"If-Match": stale}),
        await site.client.delete(path, headers={"If-Match": stale}),
    ):
        problem(reply, 412, "precondition-failed")
    assert pointers(await site.client.patch(path, json={"url": "https://127.0.0.1/"})) == ["#/url"]
    assert (await site.client.delete(path, headers={"If-Match": changed.headers["etag"]})).status_code == 204
    problem(await site.client.get(path), 404, "webhook-not-found")
    told = [(event["type"], event["data"]) for event in await site.events(type="webhook.")]
    assert told[1:] == [
        ("webhook.updated", {"eventTypes": ["vault."], "minimumSeverity": "Warning", "url": "93.184.215.15"}),
        ("webhook.deleted", {}),
    ]


async def test_readers_read_and_operators_change(site: Site) -> None:
    await site.vault()
    reader, operator = await site.caller("reader", "contoso"), await site.caller("operator", "contoso")
    problem(await reader.post(WEBHOOKS, json={"url": PUBLIC}), 403, "forbidden")
    reply = await operator.post(WEBHOOKS, json={"url": PUBLIC})
    assert reply.status_code == 201
    path = f"{WEBHOOKS}/{reply.json()['id']}"
    assert (await reader.get(path)).status_code == 200
    assert (await reader.get(f"{path}/deliveries")).json() == {"items": [], "nextCursor": None}
    for refused in (
        await reader.patch(path, json={"enabled": False}),
        await reader.post(f"{path}/test"),
        await reader.post(f"{path}/rotate-secret"),
        await reader.delete(path),
    ):
        problem(refused, 403, "forbidden")


async def test_the_library_accepts_the_signature(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url)
    await notify(hooked)
    (received,) = receiver.requests
    assert received.line == "POST /hooks?token=part-of-the-address HTTP/1.1"
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert verify(received, created["secret"], hooked.clock) == received.event
    with pytest.raises(WebhookVerificationError):
        verify(received, "whsec_" + base64.b64encode(bytes(32)).decode(), hooked.clock)
    with pytest.raises(WebhookVerificationError):
        verify(received._replace(body=received.body.replace(b"contoso", b"fabrikam")), created["secret"], hooked.clock)


async def test_a_rotated_secret_signs_beside_the_old_one_until_its_grace_is_over(
    hooked: Site, receiver: Receiver
) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=["registration-key."])
    path = f"{WEBHOOKS}/{created['id']}"
    stale = (await hooked.client.get(path)).headers["etag"]
    rotated = await hooked.client.post(f"{path}/rotate-secret", headers={"Idempotency-Key": "once"})
    assert rotated.status_code == 200, rotated.text
    again = await hooked.client.post(f"{path}/rotate-secret", headers={"Idempotency-Key": "once"})
    assert again.json() == rotated.json(), "a repeated request must not rotate twice"
    problem(await hooked.client.delete(path, headers={"If-Match": stale}), 412, "precondition-failed")
    new, old = rotated.json()["secret"], created["secret"]
    assert new != old
    until = rfc3339(hooked.clock.now() + timedelta(hours=24))
    assert (await read(hooked, created))["previousSecretValidUntil"] == until
    hooked.manual_clock.advance(86_399)
    await happen(hooked)
    await notify(hooked)
    for secret in (new, old):
        verify(receiver.requests[-1], secret, hooked.clock)
    assert len(receiver.requests[-1].headers["webhook-signature"].split(" ")) == 2
    hooked.manual_clock.advance(1)
    assert (await read(hooked, created))["previousSecretValidUntil"] is None
    await happen(hooked)
    await notify(hooked)
    verify(receiver.requests[-1], new, hooked.clock)
    with pytest.raises(WebhookVerificationError):
        verify(receiver.requests[-1], old, hooked.clock)
    (event,) = await hooked.events(type="webhook.secret-rotated")
    assert event["data"] == {"previousSecretValidUntil": until}


async def test_several_rotations_in_a_row_leave_no_receiver_behind_and_a_leak_is_stopped_at_once(
    hooked: Site, receiver: Receiver
) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=["registration-key."])
    path = f"{WEBHOOKS}/{created['id']}/rotate-secret"
    secrets = [created["secret"]]
    for _ in range(4):
        reply = await hooked.client.post(path, json={"graceSeconds": 60})
        secrets.append(reply.json()["secret"])
    await happen(hooked)
    await notify(hooked)
    for secret in secrets[1:]:
        verify(receiver.requests[-1], secret, hooked.clock)
    with pytest.raises(WebhookVerificationError):
        verify(receiver.requests[-1], secrets[0], hooked.clock)
    last = (await hooked.client.post(path, json={"graceSeconds": 0})).json()
    assert last["previousSecretValidUntil"] is None
    await happen(hooked)
    await notify(hooked)
    verify(receiver.requests[-1], last["secret"], hooked.clock)
    for secret in secrets:
        with pytest.raises(WebhookVerificationError):
            verify(receiver.requests[-1], secret, hooked.clock)
    assert pointers(await hooked.client.post(path, json={"graceSeconds": 604_801})) == ["#/graceSeconds"]
    assert pointers(await hooked.client.post(path, json={"graceSeconds": -1})) == ["#/graceSeconds"]


async def test_a_test_delivery_is_tried_once_and_its_outcome_is_in_the_log(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=["job."])
    path = f"{WEBHOOKS}/{created['id']}"
    assert (await hooked.client.patch(path, json={"enabled": False})).status_code == 200
    queued = await hooked.client.post(f"{path}/test")
    assert queued.status_code == 202, queued.text
    (delivery,) = queued.json()["deliveries"]
    assert (delivery["kind"], delivery["state"], delivery["firstSequence"]) == ("test", "Pending", None)
    assert await deliveries(hooked, created) == [delivery]
    await notify(hooked)
    (received,) = receiver.requests
    assert received.event["type"] == "dev.muster.webhook.test"
    assert received.event["data"]["actor"] == "token:admin"
    verify(received, created["secret"], hooked.clock)
    receiver.behave = lambda _: answer(500, "not today")
    await hooked.client.post(f"{path}/test")
    await notify(hooked)
    hooked.manual_clock.advance(86_400)
    await notify(hooked)
    first, second = await deliveries(hooked, created)
    assert (first["state"], first["lastStatus"], first["attempts"]) == ("Delivered", 204, 1)
    assert (second["state"], second["lastStatus"], second["attempts"]) == ("Failed", 500, 1)
    assert second["lastError"] == "HTTP 500: not today"
    assert (await read(hooked, created))["failingSince"] is None, "tests say nothing of the webhook's health"


async def test_webhooks_go_with_their_vault(hooked: Site, receiver: Receiver, database: Database) -> None:
    await webhook(hooked, receiver.url)
    await notify(hooked)
    receiver.behave = lambda _: answer(500)
    await happen(hooked)
    await notify(hooked)
    for key in await hooked.walk("/api/v1/vaults/contoso/registration-keys"):
        await hooked.client.delete(f"/api/v1/vaults/contoso/registration-keys/{key['id']}")
    assert (await hooked.client.delete("/api/v1/vaults/contoso")).status_code == 204
    hooked.manual_clock.advance(3600)
    assert await notify(hooked) == 0
    async with database.read() as session:
        for table in ("notification_channels", "notification_deliveries"):
            assert (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0


async def test_a_replica_with_another_key_says_so_and_signs_nothing(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    async with notifying_site(database_url, clock, tmp_path / "a", secret_key=OLD_KEY) as first:
        await first.vault()
        created = await webhook(first, receiver.url)
        assert not (tmp_path / "a" / "secret-key").exists()
        async with notifying_site(database_url, clock, tmp_path / "b") as keyless:
            assert await notify(keyless) == 1
            assert receiver.requests == []
            (delivery,) = await deliveries(keyless, created)
            assert delivery["state"] == "Pending"
            assert "MUSTER_SECRET_KEY" in delivery["lastError"]
            document = problem(await keyless.client.post(WEBHOOKS, json={"url": PUBLIC}), 503, "secret-key-unavailable")
            assert "MUSTER_SECRET_KEY" in document["detail"]
            assert OLD_KEY not in document["detail"]
            assert not (tmp_path / "b" / "secret-key").exists(), "a second key would make things worse"
        async with notifying_site(database_url, clock, tmp_path / "c", secret_key=NEW_KEY) as wrong:
            problem(await wrong.client.post(WEBHOOKS, json={"url": PUBLIC}), 503, "secret-key-unavailable")
            rotation = await wrong.client.post(f"{WEBHOOKS}/{created['id']}/rotate-secret")
            problem(rotation, 503, "secret-key-unavailable")
        clock.advance(60)
        assert await notify(first) == 1
        verify(receiver.requests[-1], created["secret"], clock)
        async with notifying_site(database_url, clock, tmp_path, secret_key=f"{NEW_KEY},{OLD_KEY}") as both:
            await happen(both)
            await notify(both)
            verify(receiver.requests[-1], created["secret"], clock)
            rotated = await both.client.post(f"{WEBHOOKS}/{created['id']}/rotate-secret", json={"graceSeconds": 0})
        async with notifying_site(database_url, clock, tmp_path, secret_key=NEW_KEY) as alone:
            await happen(alone)
            await notify(alone)
            verify(receiver.requests[-1], rotated.json()["secret"], clock)
        async with notifying_site(database_url, clock, tmp_path, secret_key=OLD_KEY) as lost:
            fresh = await lost.client.post(f"{WEBHOOKS}/{created['id']}/rotate-secret", json={"graceSeconds": 0})
            await happen(lost)
            await notify(lost)
            verify(receiver.requests[-1], fresh.json()["secret"], clock)


async def test_a_key_file_that_is_lost_or_damaged_is_an_error(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    async with notifying_site(database_url, clock, tmp_path) as site:
        await site.vault()
        created = await webhook(site, receiver.url)
    for damage in (None, "no key"):
        (tmp_path / "secret-key").unlink(missing_ok=True)
        if damage:
            (tmp_path / "secret-key").write_text(damage)
        async with notifying_site(database_url, clock, tmp_path) as site:
            problem(await site.client.post(WEBHOOKS, json={"url": PUBLIC}), 503, "secret-key-unavailable")
            await notify(site)
            assert "secret-key" in (await deliveries(site, created))[0]["lastError"]
            clock.advance(3600)
    assert receiver.requests == []


async def test_processes_that_need_the_key_file_at_once_make_one(
    database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    async with (
        notifying_site(database_url, clock, tmp_path) as first,
        notifying_site(database_url, clock, tmp_path) as second,
    ):
        await first.vault()
        replies = await asyncio.gather(
            *(site.client.post(WEBHOOKS, json={"url": PUBLIC}) for site in (first, second) for _ in range(4))
        )
        assert {reply.status_code for reply in replies} == {201}
    async with notifying_site(database_url, clock, tmp_path) as site:
        assert (await site.client.post(WEBHOOKS, json={"url": PUBLIC})).status_code == 201


async def test_secrets_are_in_no_log_line_event_or_delivery(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    root, level = list(logging.getLogger().handlers), logging.getLogger().level
    logs.configure(LogFormat.JSON, LogLevel.DEBUG)
    try:
        async with new_site(database_url, clock, tmp_path, **HERE) as site:
            await site.vault()
            created = await webhook(site, receiver.url)
            rotated = (await site.client.post(f"{WEBHOOKS}/{created['id']}/rotate-secret")).json()
            secrets = [created["secret"], rotated["secret"]]
            receiver.behave = lambda _: answer(500, f"I know {secrets[0]} and {secrets[1]}")
            await notify(site)
            logging.getLogger("muster.x").warning("%s", secrets[0])
            told = f"{await site.events()} {await deliveries(site, created)} {await site.walk(WEBHOOKS)}"
            receiver.behave = lambda _: answer(410, "token=part-of-the-address")
            clock.advance(60)
            await send(site)
            told += f"{await site.events()}"
    finally:
        logging.getLogger().handlers[:] = root
        logging.getLogger().setLevel(level)
    captured = capfd.readouterr()
    for secret in secrets:
        assert secret.removeprefix("whsec_") not in told + captured.out + captured.err
    assert (tmp_path / "secret-key").read_text().strip() not in told + captured.out + captured.err
