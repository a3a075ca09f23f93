"""Following a record that several replicas on one PostgreSQL write at once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from app.core.clock import ManualClock
from app.core.db import Database
from app.events import listener
from app.events.queries import counter, delete_older
from tests.support.muster import Site, new_site
from tests.support.postgres import PostgresServer
from tests.support.records import record_events
from tests.support.streams import Follower

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
WRITERS, WRITES, FOLLOWERS = 6, 25, 9
LISTENING = "application_name = 'muster events' AND datname = current_database()"


@pytest.fixture
async def trio(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[list[Site]]:
    """Three replicas with the vault `contoso`."""
    async with AsyncExitStack() as stack:
        sites = [await stack.enter_async_context(new_site(database_url, clock, tmp_path)) for _ in range(3)]
        await sites[0].vault()
        yield sites


async def cut_off_listeners(database: Database) -> int:
    """Kill every connection that hears of events. Returns how many there were."""
    async with database.read() as session:
        found = await session.execute(
            text(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {LISTENING}")
        )
        return int(found.scalar_one())


async def listeners(database: Database) -> int:
    """How many connections listen now."""
    async with database.read() as session:
        found = await session.execute(
            text(f"SELECT count(*) FROM pg_stat_activity WHERE {LISTENING} AND query ILIKE 'LISTEN%'")
        )
        return int(found.scalar_one())


async def until_listening(database: Database, count: int) -> None:
    while await listeners(database) < count:
        await asyncio.sleep(0.02)


async def follow_with_cuts(sites: list[Site], seed: int, total: int, **query: Any) -> list[int]:
    """Follow the record from its beginning over a random replica at a time, cut off after a few frames each."""
    chooser = random.Random(seed)
    place, found = 0, list[int]()
    while place < total:
        async with Follower(chooser.choice(sites).app, place, **query) as stream:
            for _ in range(chooser.randint(1, 12)):
                frame = await stream.frame()
                if frame.data is not None:
                    found.append(frame.data["sequence"])
                place = place if frame.id is None else frame.id
                if place >= total:
                    break
    return found


async def test_followers_see_each_event_of_three_writing_replicas_once_and_in_order(
    trio: list[Site], database: Database
) -> None:
    total = 1 + WRITERS * WRITES

    async def write_some(number: int) -> None:
        chooser = random.Random(number)
        for _ in range(WRITES):
            site = chooser.choice(trio)
            if chooser.random() < 0.5:
                await site.registration_key()
            else:
                await record_events(site.app.state.database, site.clock, 1)

    async def disturb() -> None:
        for _ in range(3):
            await until_listening(database, 1)
            await cut_off_listeners(database)

    seen, *_ = await asyncio.gather(
        asyncio.gather(*(follow_with_cuts(trio, seed, total) for seed in range(FOLLOWERS))),
        asyncio.gather(*(write_some(number) for number in range(WRITERS))),
        disturb(),
    )
    for numbers in seen:
        assert numbers == list(range(1, total + 1))
    listed = [event["sequence"] for event in await trio[1].events(type="process-server.")]
    last = [event["sequence"] for event in await trio[1].events()][-1]
    await record_events(database, trio[0].clock, 100)
    assert [n for n in await follow_with_cuts(trio, 1, last, type="process-server.") if n <= last] == listed


async def test_other_replicas_hear_of_events_at_once_and_of_their_vault_alone(
    trio: list[Site], database: Database
) -> None:
    first, second, third = trio
    await first.vault("other")
    async with Follower(second.app) as stream, Follower(third.app, vault="other") as elsewhere:
        await stream.frame()
        await until_listening(database, 2)
        await first.registration_key()
        assert (await stream.event())["type"] == "registration-key.created"
        async with first.app.state.database.write() as session:
            await session.execute(text("SELECT pg_notify('muster_events', 'no vault')"))
        await record_events(first.app.state.database, first.clock, 2, vault="other")
        assert await elsewhere.events(2) == [2, 3]
        assert stream.waiting == 0
    assert await listeners(database) == 2, "one a process, however many streams; none where nobody ever followed"


async def test_a_killed_connection_is_made_again_and_what_came_meanwhile_is_told(
    trio: list[Site], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = trio
    async with Follower(second.app) as stream:
        await stream.frame()
        await until_listening(database, 1)
        may_connect = asyncio.Event()
        connect = listener.Listener._listen

        async def held_back(self: listener.Listener) -> None:
            await may_connect.wait()
            await connect(self)

        monkeypatch.setattr(listener.Listener, "_listen", held_back)
        assert await cut_off_listeners(database) == 1
        await first.registration_key()
        await record_events(first.app.state.database, first.clock, 700)
        may_connect.set()
        assert await stream.events(701) == list(range(2, 703))
        await first.registration_key()
        assert await stream.events(1) == [703]


async def test_the_database_may_restart_under_open_streams(
    postgres: PostgresServer, database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    own = PostgresServer.start(fsync=False)
    try:
        from app.core.migrations import upgrade

        url = await own.create_database_async("restarted")
        migrating = Database(url)
        await upgrade(migrating)
        await migrating.close()
        async with new_site(url, clock, tmp_path) as site:
            await site.vault()
            async with Follower(site.app) as stream:
                await stream.frame()
                await asyncio.to_thread(own.restart)
                while (await site.client.post("/api/v1/vaults/contoso/registration-keys")).status_code != 201:
                    await asyncio.sleep(0.05)
                while not stream.waiting:
                    await site.app.state.event_hub.tick()
                    await asyncio.sleep(0.02)
                assert await stream.events(1) == [2]
    finally:
        await asyncio.to_thread(own.close)


async def test_two_replicas_that_delete_at_once_never_set_back_what_is_kept(
    trio: list[Site], database: Database
) -> None:
    first, second, _ = trio
    await record_events(database, first.clock, 9)
    later = first.clock.now() + timedelta(days=1)
    async with first.app.state.database.write() as session:
        assert await delete_older(session, later, 6) == 6
        # The other one saw the same events before the first commits, and now waits for their locks.
        other = asyncio.create_task(_delete_two(second, later))
        while not await _waits_for_a_lock(database):
            await asyncio.sleep(0.01)
    await other
    async with database.read() as session:
        vault_id = (await session.execute(text("SELECT id FROM vaults"))).scalar_one()
        assert await counter(session, vault_id) == (10, 7)
    async with Follower(second.app, 3) as stream:
        assert stream.status == 410


async def _delete_two(site: Site, moment: Any) -> None:
    async with site.app.state.database.write() as session:
        assert await delete_older(session, moment, 2) == 0


async def _waits_for_a_lock(database: Database) -> bool:
    async with database.read() as session:
        found = await session.execute(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )
        return bool(found.scalar_one())


async def test_notifications_come_with_the_commit_and_once_for_each_vault(trio: list[Site], database_url: str) -> None:
    heard = asyncio.Queue[str]()
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        await connection.add_listener("muster_events", lambda *message: heard.put_nowait(message[3]))
        site = trio[0]
        await site.vault("other")
        await heard.get()
        async with site.app.state.database.read() as session:
            rows = (await session.execute(text("SELECT id FROM vaults"))).scalars().all()
        await record_events(site.app.state.database, site.clock, 5)
        await record_events(site.app.state.database, site.clock, 5, vault="other")
        assert {await heard.get(), await heard.get()} == {str(row) for row in rows}
        assert heard.empty()
    finally:
        await connection.close()
