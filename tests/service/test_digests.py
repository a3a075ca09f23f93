"""One digest in place of a storm."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from app.core.clock import ManualClock
from app.core.db import Database
from app.core.wire import rfc3339
from app.events.service import Resource, record
from app.models import ConfigurationServer, ProcessServer
from app.notifications import outbox
from app.vocabulary import EventType, ResourceKind, Severity
from tests.support.muster import Site
from tests.support.notifications import deliveries, dispatch, notify, notifying_site, read, send, webhook
from tests.support.receiver import Receiver, receiving


@pytest.fixture
async def windowed(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Site]:
    """A site with a window of 10 s and digests from 10 events on; two configuration servers."""
    settings = {"digest_window_seconds": 10, "public_url": "https://muster.example"}
    async with notifying_site(database_url, clock, tmp_path, **settings) as site:
        await site.vault()
        for name in ("cs-1", "cs-2"):
            server = await site.configuration_server(name=name)
            await site.process_server(server, f"ps-of-{name}")
        yield site


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything."""
    async with receiving() as started:
        yield started


async def storm(
    site: Site,
    count: int,
    *,
    server: str = "cs-1",
    kind: EventType = EventType.PROCESS_SERVER_DISCONNECTED,
    severity: Severity = Severity.CRITICAL,
    data: dict[str, Any] | None = None,
) -> None:
    """That many events of process servers of one site, as if each were of another."""
    database: Database = site.app.state.database
    async with database.write() as session:
        found = (
            await session.execute(
                select(ProcessServer, ConfigurationServer)
                .join(ConfigurationServer, ConfigurationServer.id == ProcessServer.configuration_server_id)
                .where(ProcessServer.name == f"ps-of-{server}")
            )
        ).one()
        for number in range(count):
            record(
                session, found.ProcessServer.vault_id, site.clock.now(), kind,
                Resource(ResourceKind.PROCESS_SERVER, found.ProcessServer.id, f"ps-{number:03}"),
                actor="monitor", message=f"event {number}", severity=severity, data=data,
            )  # fmt: skip


async def test_a_storm_becomes_one_digest_and_the_rest_is_told_one_by_one(windowed: Site, receiver: Receiver) -> None:
    created = await webhook(windowed, receiver.url, eventTypes=["process-server.", "vault."])
    start = windowed.clock.now()
    await storm(windowed, 120)
    await storm(windowed, 12, kind=EventType.PROCESS_SERVER_ALERT_RAISED, severity=Severity.WARNING)
    await storm(windowed, 9, kind=EventType.PROCESS_SERVER_CONNECTED)
    await storm(windowed, 3, server="cs-2")
    await windowed.client.patch("/api/v1/vaults/contoso", json={"location": "elsewhere"})
    assert await dispatch(windowed) == 0, "the window is not over"
    windowed.manual_clock.advance(9.9)
    assert await notify(windowed) == 0
    windowed.manual_clock.advance(0.1)
    assert await notify(windowed) == 14
    assert sorted(receiver.types) == sorted(
        ["configuration-server.digest", "vault.updated"]
        + ["process-server.connected"] * 9
        + ["process-server.disconnected"] * 3
    )
    (digest,) = [request.event for request in receiver.requests if request.event["type"].endswith(".digest")]
    vault_id = (await windowed.client.get("/api/v1/vaults/contoso")).json()["id"]
    server = await windowed.read_configuration_server()
    events = await windowed.events(type="process-server.disconnected")
    first, last = events[0]["sequence"], events[0]["sequence"] + 131
    assert digest["id"] == f"{vault_id}/{first}-{last}"
    assert digest["subject"] == "configuration-server/cs-1"
    data = digest["data"]
    assert data == {
        "message": "132 events on the site of configuration server cs-1: 120 process-server.disconnected, "
        "12 process-server.alert-raised",
        "severity": "Critical",
        "configurationServer": {"id": server["id"], "name": "cs-1"},
        "count": 132,
        "countByType": {"process-server.disconnected": 120, "process-server.alert-raised": 12},
        "firstSequence": first,
        "lastSequence": last,
        "firstTime": rfc3339(start),
        "lastTime": rfc3339(start),
        "names": [f"ps-{number:03}" for number in range(100)],
        "nameCount": 120,
        "events": data["events"],
    }
    link = urlsplit(data["events"])
    assert (link.scheme, link.netloc) == ("https", "muster.example")
    listed = await windowed.client.get(f"{link.path}?{link.query}&limit=500")
    assert {entry["sequence"] for entry in listed.json()["items"]} >= set(range(first, last + 1))
    (entry,) = [entry for entry in await deliveries(windowed, created) if entry["kind"] == "digest"]
    assert (entry["firstSequence"], entry["lastSequence"], entry["severity"]) == (first, last, "Critical")
    assert await notify(windowed) == 0


async def test_each_site_has_a_digest_of_its_own(windowed: Site, receiver: Receiver) -> None:
    await webhook(windowed, receiver.url, eventTypes=["process-server."])
    await storm(windowed, 10)
    await storm(windowed, 10, server="cs-2")
    windowed.manual_clock.advance(10)
    assert await notify(windowed) == 2
    assert {request.event["subject"] for request in receiver.requests} == {
        "configuration-server/cs-1",
        "configuration-server/cs-2",
    }


async def test_a_storm_that_goes_on_is_gathered_until_it_pauses(windowed: Site, receiver: Receiver) -> None:
    await webhook(windowed, receiver.url, eventTypes=["process-server."])
    for _ in range(4):
        await storm(windowed, 12)
        windowed.manual_clock.advance(6)
        assert await notify(windowed) == 0
    windowed.manual_clock.advance(4)
    assert await notify(windowed) == 1
    assert receiver.requests[0].event["data"]["count"] == 48


async def test_a_storm_without_a_pause_is_told_of_each_minute(windowed: Site, receiver: Receiver) -> None:
    await webhook(windowed, receiver.url, eventTypes=["process-server."])
    for _ in range(20):
        await storm(windowed, 12)
        await notify(windowed)
        windowed.manual_clock.advance(6)
    assert [request.event["data"]["count"] for request in receiver.requests] == [132]


async def test_muted_and_unwanted_events_make_no_storm(windowed: Site, receiver: Receiver) -> None:
    created = await webhook(windowed, receiver.url, eventTypes=["process-server."], minimumSeverity="Warning")
    await storm(windowed, 9)
    await storm(windowed, 20, data={"muted": True})
    await storm(windowed, 20, severity=Severity.INFORMATION)
    windowed.manual_clock.advance(10)
    assert await notify(windowed) == 9
    assert "configuration-server.digest" not in receiver.types
    assert (await read(windowed, created))["lastSequence"] == (await windowed.events())[-1]["sequence"]


async def test_a_large_storm_is_told_of_at_once_in_parts(
    windowed: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "EVENTS_PER_TRANSACTION", 40)
    await webhook(windowed, receiver.url, eventTypes=["process-server."])
    await storm(windowed, 100)
    assert await notify(windowed) == 2, "full batches don't wait"
    windowed.manual_clock.advance(10)
    assert await notify(windowed) == 1
    spans = [(request.event["data"]["firstSequence"], request.event["data"]["count"]) for request in receiver.requests]
    assert sorted(count for _, count in spans) == [21, 39, 40]


async def test_without_a_threshold_every_event_is_told(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    async with notifying_site(database_url, clock, tmp_path, digest_threshold=0) as site:
        await site.vault()
        await site.process_server(await site.configuration_server(), "ps-of-cs-1")
        await webhook(site, receiver.url, eventTypes=["process-server."])
        await storm(site, 50)
        assert await notify(site) == 50


async def test_a_site_whose_servers_are_gone_still_has_one_digest(windowed: Site, receiver: Receiver) -> None:
    await webhook(windowed, receiver.url, eventTypes=["process-server."])
    server = await windowed.configuration_server(name="cs-3")
    await windowed.process_server(server, "ps-of-cs-3")
    windowed.manual_clock.advance(10)
    await notify(windowed)
    receiver.requests.clear()
    await storm(windowed, 30, server="cs-3")
    path = "/api/v1/vaults/contoso/configuration-servers/cs-3"
    assert (await windowed.client.delete(path, params={"force": True})).status_code == 204
    windowed.manual_clock.advance(10)
    await notify(windowed)
    (digest,) = [request.event for request in receiver.requests if request.event["type"].endswith(".digest")]
    assert digest["data"]["configurationServer"] == {"id": server["id"], "name": "cs-3"}


async def test_events_of_a_clock_that_was_set_back_are_not_held_up(windowed: Site, receiver: Receiver) -> None:
    await webhook(windowed, receiver.url, eventTypes=["process-server."])
    await storm(windowed, 1)
    windowed.manual_clock.advance(-timedelta(hours=1).total_seconds())
    assert await dispatch(windowed) == 1
    assert await send(windowed) == 1
