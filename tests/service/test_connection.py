"""Connection state: disconnected at the timeout and not before, each transition one event."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select

from app.connection import queries
from app.connection.tasks import Monitor
from app.core.clock import ManualClock
from app.core.db import Database
from app.models import Host, MonitorWatermark, Outage
from tests.support.muster import Site, new_site
from tests.support.rows import count, host_row

POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@pytest.fixture
async def servers(site: Site) -> dict[str, Any]:
    """A configuration server and a process server, both connected; the monitor has looked once."""
    await site.vault()
    server = await site.configuration_server()
    process_server = await site.process_server(server)
    await site.tick()
    for registered in (server, process_server):
        assert (await site.beat(registered)).status_code == 200
    return {"cs": server, "ps": process_server}


async def transitions(site: Site) -> list[tuple[str, str]]:
    """What became of each server's connection, in order."""
    return [
        (event["resource"]["kind"] + " " + event["resource"]["name"], event["type"].partition(".")[2])
        for event in await site.events()
        if event["type"].endswith((".connected", ".disconnected"))
    ]


async def state_of(site: Site, name: str = "ps-1") -> str:
    return str((await site.read_process_server(name))["connectionState"])


async def test_a_server_is_disconnected_exactly_at_the_timeout(site: Site, servers: dict[str, Any]) -> None:
    await site.pass_time(895)
    site.manual_clock.advance(4.999)
    assert await site.tick() == 0
    assert await state_of(site) == "Connected"
    site.manual_clock.advance(0.001)
    assert await site.tick() == 2
    assert await state_of(site) == "Disconnected"
    assert await site.tick() == 0


async def test_a_heartbeat_moves_the_deadline(site: Site, servers: dict[str, Any]) -> None:
    await site.pass_time(899)
    assert (await site.beat(servers["ps"], 2)).status_code == 200
    await site.pass_time(899)
    assert await state_of(site) == "Connected"
    assert await state_of(site, "cs-1") == "Disconnected"
    await site.pass_time(1)
    assert await state_of(site) == "Disconnected"


async def test_each_transition_is_one_event_for_each_server_of_the_host(site: Site, servers: dict[str, Any]) -> None:
    names = ["configuration-server cs-1", "process-server cs-1", "process-server ps-1"]
    await site.pass_time(1000)
    for number in (2, 3, 4):
        for registered in servers.values():
            await site.beat(registered, number)
    await site.pass_time(1000)
    expected = sorted(["connected", "disconnected"] * 2)
    found = await transitions(site)
    for name in names:
        mine = [what for who, what in found if who == name]
        assert sorted(mine) == expected
        assert mine == ["connected", "disconnected"] * 2
    assert len(found) == 12
    gone = next(event for event in await site.events() if event["type"] == "process-server.disconnected")
    assert (gone["actor"], gone["severity"]) == ("monitor", "Critical")
    assert gone["data"] == {"lastHeartbeat": "2026-01-01T00:00:00.000Z", "timeoutSeconds": 900.0}
    back = [event for event in await site.events() if event["type"] == "process-server.connected"][-1]
    assert back["data"] == {"silentSeconds": 1000.0, "sequence": 2}
    assert back["message"] in {f"process server {name} is connected" for name in ("cs-1", "ps-1")}


async def test_servers_that_never_sent_a_heartbeat_stay_disconnected_without_events(
    site: Site, servers: dict[str, Any]
) -> None:
    await site.process_server(servers["cs"], "ps-2")
    await site.pass_time(2000, step=100)
    assert await state_of(site, "ps-2") == "Disconnected"
    assert not [who for who, _ in await transitions(site) if who.endswith("ps-2")]
    seen = await site.read_process_server("ps-2")
    assert (seen["lastHeartbeat"], seen["healthErrors"][0]["since"]) == (None, None)


async def test_before_the_first_look_nothing_was_observed(site: Site) -> None:
    """Heartbeats that came while no monitor worked say nothing about silence."""
    await site.vault()
    server = await site.configuration_server()
    await site.beat(server)
    site.manual_clock.advance(3000)
    assert await site.tick() == 0
    await site.pass_time(895)
    assert await state_of(site, "cs-1") == "Connected"
    await site.pass_time(5)
    assert await state_of(site, "cs-1") == "Disconnected"


@pytest.fixture
async def unbraked(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose brake never engages, however many fall silent at once."""
    async with new_site(database_url, clock, tmp_path, brake_minimum_servers=1000) as started:
        yield started


async def test_more_silent_servers_than_one_transaction_takes(unbraked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site = unbraked
    monkeypatch.setattr("app.connection.tasks.DISCONNECTIONS_PER_TRANSACTION", 3)
    await site.vault()
    key = await site.registration_key()
    await site.tick()
    for number in range(7):
        await site.beat(await site.configuration_server(name=f"cs-{number}", key=key))
    await site.pass_time(895)
    site.manual_clock.advance(5)
    assert await site.tick() == 7
    assert len(await transitions(site)) == 7 * 2 * 2


async def test_a_clock_that_was_set_back_disconnects_nobody_and_forgets_nobody(
    site: Site, servers: dict[str, Any], database: Database
) -> None:
    await site.pass_time(600)
    await site.beat(servers["ps"], 2)
    site.manual_clock.advance(-86_400)
    assert await site.tick() == 0
    row = await host_row(database, servers["ps"])
    assert row.last_heartbeat_at == site.clock.now()
    await site.pass_time(895)
    assert await state_of(site) == "Connected"
    assert (await site.beat(servers["cs"], 2)).status_code == 200
    await site.pass_time(5)
    assert await state_of(site) == "Disconnected"
    assert await state_of(site, "cs-1") == "Connected"


async def test_a_clock_that_jumped_ahead_and_was_set_right_hides_nobodys_silence(
    site: Site, servers: dict[str, Any], database: Database
) -> None:
    """The jump looks like an outage; once taken back it must not swallow the time that it covered."""
    site.manual_clock.advance(86_400)
    assert await site.tick() == 0
    site.manual_clock.advance(-86_400 + 5)
    assert await site.tick() == 0
    async with database.read() as session:
        assert not [row for row in (await session.execute(select(Outage))).scalars() if row.ended_at > site.clock.now()]
    await site.pass_time(910)
    assert await state_of(site) == "Disconnected"


async def test_a_clock_set_back_to_the_very_same_moment_stops_no_monitor(site: Site, servers: dict[str, Any]) -> None:
    for _ in range(3):
        site.manual_clock.advance(3600)
        await site.tick()
        site.manual_clock.advance(-3600)
        await site.tick()


async def test_the_answers_time_is_the_servers(site: Site, servers: dict[str, Any]) -> None:
    site.manual_clock.advance(12.345)
    assert (await site.beat(servers["ps"], 2)).json()["serverTime"] == "2026-01-01T00:00:12.345Z"


@pytest.fixture
async def replicas(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[list[Site]]:
    """Three replicas on one database."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(new_site(database_url, clock, tmp_path)) for _ in range(3)]


@pytest.fixture
async def unbraked_replicas(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[list[Site]]:
    """Three replicas whose brake never engages."""
    async with AsyncExitStack() as stack:
        sites = [new_site(database_url, clock, tmp_path, brake_minimum_servers=1000) for _ in range(3)]
        yield [await stack.enter_async_context(site) for site in sites]


async def leaders(replicas: list[Site]) -> list[Site]:
    """Those that lead after a look each."""
    return [replica for replica in replicas if await replica.app.state.leadership.hold()]


@POSTGRESQL
async def test_of_three_monitors_one_leads_and_each_transition_is_written_once(replicas: list[Site]) -> None:
    first = replicas[0]
    await first.vault()
    server = await first.configuration_server()
    await asyncio.gather(*(replica.tick() for replica in replicas))
    await first.beat(server)
    assert len(await leaders(replicas)) == 1
    for _ in range(185):
        first.manual_clock.advance(5)
        await asyncio.gather(*(replica.tick() for replica in replicas))
    assert await transitions(first) == [
        ("configuration-server cs-1", "connected"),
        ("process-server cs-1", "connected"),
        ("configuration-server cs-1", "disconnected"),
        ("process-server cs-1", "disconnected"),
    ]


@POSTGRESQL
async def test_monitors_that_all_think_they_lead_write_each_transition_once(
    unbraked_replicas: list[Site], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicas = unbraked_replicas
    first = replicas[0]
    await first.vault()
    key = await first.registration_key()

    async def always() -> bool:
        return True

    for replica in replicas:
        monkeypatch.setattr(replica.app.state.leadership, "hold", always)
    # The first look of all: nobody trips over the other's watermark.
    await asyncio.gather(*(replica.tick() for replica in replicas))
    assert await count(database, MonitorWatermark) == 1
    for number in range(5):
        await first.beat(await first.configuration_server(name=f"cs-{number}", key=key))
    for _ in range(181):
        first.manual_clock.advance(5)
        await asyncio.gather(*(replica.tick() for replica in replicas))
    found = await transitions(first)
    assert len(found) == len(set(found)) == 5 * 2 * 2


@POSTGRESQL
async def test_a_leader_whose_connection_is_cut_off_is_followed_at_the_next_tick(
    replicas: list[Site], database_url: str
) -> None:
    await replicas[0].tick()
    (old,) = await leaders(replicas)
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND "
    assert len(await connection.fetch(query + "application_name = 'muster monitor leader'")) == 1
    while await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"):
        await asyncio.sleep(0.01)
    await connection.close()
    others = [replica for replica in replicas if replica is not old]
    await others[0].tick()
    assert await leaders([*others, old]) == [others[0]]
    await old.tick()


@POSTGRESQL
async def test_a_leader_that_stops_is_followed_at_once(database_url: str, clock: ManualClock, tmp_path: Path) -> None:
    async with new_site(database_url, clock, tmp_path) as stays:
        async with new_site(database_url, clock, tmp_path) as goes:
            assert await goes.app.state.leadership.hold()
            assert not await stays.app.state.leadership.hold()
        assert await stays.app.state.leadership.hold()


@POSTGRESQL
async def test_the_server_notices_soon_when_the_leaders_host_is_gone(site: Site) -> None:
    """Without keepalives a host that vanished would hold the lead for hours."""
    assert await site.app.state.leadership.hold()
    found = [
        int((await site.app.state.leadership._connection.exec_driver_sql(f"SHOW tcp_keepalives_{what}")).scalar_one())
        for what in ("idle", "interval", "count")
    ]
    assert found[0] + found[1] * found[2] <= 30


@POSTGRESQL
async def test_a_monitor_that_waited_for_anothers_look_does_not_turn_time_back(
    site: Site, servers: dict[str, Any], database: Database
) -> None:
    """Two that think they lead: the one that waits for the watermark reads the time when it has it."""
    monitor: Monitor = site.app.state.monitor
    async with database.write() as session:
        watermark = await queries.lock_watermark(session, site.clock.now())
        waiting = asyncio.create_task(monitor.tick())
        while not await _waits_for_a_lock(site):
            await asyncio.sleep(0.01)
        site.manual_clock.advance(5)
        watermark.observed_until = site.clock.now()
    await site.beat(servers["ps"], 2)
    await waiting
    assert (await host_row(database, servers["ps"])).last_heartbeat_at == site.clock.now()
    async with database.read() as session:
        assert await queries.observed_until(session) == site.clock.now()


async def _waits_for_a_lock(site: Site) -> bool:
    async with site.app.state.database.read() as session:
        connection = await session.connection()
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool((await connection.exec_driver_sql(query)).scalar_one())


@POSTGRESQL
async def test_a_sweep_that_races_a_heartbeat_loses_no_transition(replicas: list[Site], database: Database) -> None:
    """A hundred times: whoever wins, the last event agrees with the state, and states and events alternate."""
    sweeper, taker, _ = replicas
    await taker.vault()
    server = await taker.configuration_server()
    await sweeper.tick()
    await taker.beat(server)
    for number in range(2, 102):
        sweeper.manual_clock.advance(5)
        await sweeper.tick()
        # Straight to the moment at which the server is overdue: silence alone, no outage.
        async with database.write() as session:
            host = (await session.execute(select(Host))).scalar_one()
            host.last_heartbeat_at = sweeper.clock.now() - timedelta(seconds=900)
            host.last_heartbeat_bucket = 0
        _, answer = await asyncio.gather(sweeper.tick(), taker.beat(server, number, observedGeneration=1))
        assert answer.status_code == 200
        assert await state_of(taker, "cs-1") == "Connected", "the heartbeat was accepted now, so it is connected"
    for kind in ("configuration-server", "process-server"):
        mine = [what for who, what in await transitions(taker) if who == f"{kind} cs-1"]
        assert mine[0] == mine[-1] == "connected"
        assert all(left != right for left, right in itertools.pairwise(mine))
