"""Expiry notices: once for each date, for every server concerned, whoever looks and however late."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core.clock import ManualClock
from app.core.db import Database
from app.core.wire import rfc3339
from app.expiry import tasks
from app.models import ConfigurationServer, ExpiryNotice
from tests.support.muster import Site
from tests.support.notifications import notify, notifying_site, webhook
from tests.support.receiver import receiving

HOUR, DAY = 3_600, 86_400
CERTIFICATE = "configuration-server.certificate-expiring"
SUPPORT = ["configuration-server.support-ending", "process-server.support-ending"]


async def expire(site: Site, in_days: float, name: str = "cs-1") -> datetime:
    """Have the certificate of a configuration server expire then."""
    database: Database = site.app.state.database
    moment = site.clock.now() + timedelta(days=in_days)
    async with database.write() as session:
        await session.execute(
            update(ConfigurationServer).where(ConfigurationServer.name == name).values(certificate_expires_at=moment)
        )
    return moment


async def look(site: Site) -> int:
    """One look for what expires."""
    return int(await site.app.state.expiry_notices.tick())


@pytest.fixture
async def manned(site: Site) -> Site:
    """A site with a configuration server whose certificate is new, and a process server."""
    await site.vault()
    await site.process_server(await site.configuration_server())
    return site


async def notices(site: Site, kind: Any = CERTIFICATE) -> list[dict[str, Any]]:
    """The notices on record."""
    return await site.events(type=kind)


async def test_a_new_certificate_is_nobodys_concern_for_years(manned: Site) -> None:
    assert await look(manned) == 0
    manned.manual_clock.advance((3 * 365 - 60) * DAY - 1)
    assert await look(manned) == 0
    manned.manual_clock.advance(1)
    assert await look(manned) == 1


async def test_a_notice_says_what_expires_when(manned: Site) -> None:
    expires_at = await expire(manned, 60)
    assert await look(manned) == 1
    (event,) = await notices(manned)
    assert event["message"] == "the certificate of configuration server cs-1 expires in 60 days; renew it"
    assert (event["severity"], event["actor"]) == ("Warning", "monitor")
    assert event["resource"]["kind"] == "configuration-server"
    assert event["data"] == {"expiresAt": rfc3339(expires_at), "dueAt": rfc3339(manned.clock.now())}


async def test_the_whole_calendar_from_the_first_notice_to_six_weeks_after(manned: Site) -> None:
    expires_at = await expire(manned, 61)
    for _ in range(110 * 4):
        await look(manned)
        manned.manual_clock.advance(6 * HOUR)
    told = await notices(manned)
    days = [(datetime.fromisoformat(event["data"]["dueAt"]) - expires_at) / timedelta(days=1) for event in told]
    assert days == [-60, -53, -46, -39, -32, -25, -18, -11, -7, -6, -5, -4, -3, -2, -1, 0, 14, 28, 42]
    assert [event["severity"] for event in told] == ["Warning"] * 8 + ["Critical"] * 11
    assert told[-1]["message"] == "the certificate of configuration server cs-1 expired 42 days ago; renew it"


async def test_after_an_outage_there_is_one_notice_and_the_calendar_goes_on(manned: Site) -> None:
    await expire(manned, 60)
    await look(manned)
    manned.manual_clock.advance(57.5 * DAY)
    assert await look(manned) == 1
    assert await look(manned) == 0
    assert (await notices(manned))[-1]["message"].endswith("expires in 2 days; renew it")
    manned.manual_clock.advance(0.5 * DAY)
    assert await look(manned) == 1


async def test_a_renewed_certificate_ends_the_notices_and_begins_a_new_calendar(manned: Site) -> None:
    await expire(manned, 3)
    assert await look(manned) == 1
    await expire(manned, 100)
    assert await look(manned) == 0
    manned.manual_clock.advance(40 * DAY)
    assert await look(manned) == 1
    assert (await notices(manned))[-1]["message"].endswith("in 60 days; renew it")


async def test_replicas_that_look_at_once_give_each_notice_once(
    database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    async with (
        notifying_site(database_url, clock, tmp_path) as first,
        notifying_site(database_url, clock, tmp_path) as second,
        notifying_site(database_url, clock, tmp_path) as third,
    ):
        await first.vault()
        key = await first.registration_key()
        for number in range(6):
            await first.configuration_server(name=f"cs-{number}", key=key)
            await expire(first, 8, f"cs-{number}")
        given = 0
        for _ in range(9):
            given += sum(await asyncio.gather(*(look(site) for site in (first, second, third) for _ in range(2))))
            # A server that another replica had locked has its turn at the next look.
            given += await look(first)
            clock.advance(DAY)
        # 11 days before is over, so the first is made up for; then 7 to 1 and the day itself.
        assert given == 6 * 9
        told = [(event["resource"]["name"], event["data"]["dueAt"]) for event in await notices(first)]
        assert len(told) == len(set(told)) == 6 * 9


async def test_servers_on_a_release_whose_support_ends_are_told(manned: Site) -> None:
    version, until = "9.62.1.1", (manned.clock.now() + timedelta(days=30)).date()
    server = await manned.configuration_server(name="cs-2", agentVersion=version)
    await manned.process_server(server, "ps-2", agentVersion=version)
    assert await look(manned) == 0
    release = {"version": version, "supportEndsOn": until.isoformat()}
    assert (await manned.client.post("/api/v1/releases", json=release)).status_code == 201
    assert await look(manned) == 2
    assert await look(manned) == 0
    told = await notices(manned, SUPPORT)
    assert sorted((event["type"], event["resource"]["name"]) for event in told) == [
        ("configuration-server.support-ending", "cs-2"),
        ("process-server.support-ending", "ps-2"),
    ], "the inbuilt process server is its configuration server"
    ends_at = manned.clock.now() + timedelta(days=31)
    for event in told:
        assert event["data"] == {
            "expiresAt": rfc3339(ends_at),
            "dueAt": rfc3339(ends_at - timedelta(days=32)),
            "version": version,
            "supportEndsOn": until.isoformat(),
        }
        assert event["message"].startswith(f"support of release {version}, which ")
    manned.manual_clock.advance(32 * DAY)
    await look(manned)
    assert (await notices(manned, SUPPORT))[-1]["message"].endswith("ended 1 day ago; upgrade it")


async def test_a_server_that_is_upgraded_hears_no_more(manned: Site) -> None:
    version, until = "9.61.1.1", (manned.clock.now() + timedelta(days=3)).date()
    release = {"version": version, "supportEndsOn": until.isoformat()}
    await manned.client.post("/api/v1/releases", json=release)
    server = await manned.configuration_server(name="cs-2")
    old = await manned.process_server(server, "ps-2", agentVersion=version)
    assert await look(manned) == 1
    await manned.beat(old, 1, agentVersion="9.62.7096.1")
    manned.manual_clock.advance(DAY)
    assert await look(manned) == 0


async def test_notices_of_removed_servers_are_forgotten(manned: Site, database: Database) -> None:
    await expire(manned, 3)
    await look(manned)
    await manned.client.delete("/api/v1/vaults/contoso/configuration-servers/cs-1", params={"force": True})
    assert await look(manned) == 0
    async with database.read() as session:
        assert (await session.execute(select(ExpiryNotice))).all() == []


async def test_many_servers_are_looked_at_in_small_transactions(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "SERVERS_PER_TRANSACTION", 2)
    await site.vault()
    key = await site.registration_key()
    for number in range(5):
        await site.configuration_server(name=f"cs-{number}", key=key)
        await expire(site, 10, f"cs-{number}")
    assert await look(site) == 5
    assert {event["resource"]["name"] for event in await notices(site)} == {f"cs-{number}" for number in range(5)}


@pytest.fixture
async def hooked(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Site]:
    """A site that may send to loopback."""
    async with notifying_site(database_url, clock, tmp_path) as started:
        await started.vault()
        yield started


async def test_a_notice_travels_like_every_event(hooked: Site) -> None:
    async with receiving() as receiver:
        await webhook(hooked, receiver.url, eventTypes=[CERTIFICATE])
        await hooked.configuration_server()
        await expire(hooked, 5)
        await look(hooked)
        await notify(hooked)
        assert receiver.types == [CERTIFICATE]
