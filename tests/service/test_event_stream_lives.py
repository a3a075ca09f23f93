"""The life of event streams: what they cost, what wakes them, what ends them."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event, select, update

from app.core.clock import ManualClock
from app.core.db import Database
from app.core.errors import DatabaseUnavailable
from app.core.metrics import EVENT_STREAMS, EVENTS_STREAMED
from app.core.wire import rfc3339
from app.events import queries
from app.events.hub import CHECK_SECONDS, EventHub
from app.events.rules import EVERYTHING
from app.events.service import place_of
from app.events.stream import KEEP_ALIVE_SECONDS, STALL_SECONDS
from app.events.window import CAPACITY
from app.models import Event, EventCounter, Vault
from tests.support.muster import Site, new_site
from tests.support.records import record_events
from tests.support.streams import Follower, Frame, hub_of, let_pass, nothing_more, write


@contextlib.contextmanager
def reads_of_the_record(database: Database) -> Iterator[list[str]]:
    """The statements that read events or their numbers."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT") and "event_counters" in statement:
            found.append(statement)

    engine: Engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


async def test_a_silent_stream_shows_that_it_lives(site: Site) -> None:
    await site.vault()
    async with Follower(site.app) as stream:
        await stream.frame()
        await let_pass(site, KEEP_ALIVE_SECONDS - 1)
        await site.registration_key()
        assert (await stream.frame()).event == "registration-key.created"
        await let_pass(site, KEEP_ALIVE_SECONDS - 1)
        await let_pass(site, 1)
        assert await stream.frame() == Frame(comment="keep-alive")
        assert stream.waiting == 0


async def test_one_read_serves_all_streams_at_the_head(site: Site) -> None:
    await site.vault()
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(Follower(site.app)) for _ in range(50)]
        await site.registration_key()
        assert {number for stream in streams for number in await stream.events(1)} == {2}
        with reads_of_the_record(site.app.state.database) as reads:
            await write(site, 30)
            for stream in streams:
                assert await stream.events(30) == list(range(3, 33))
        assert len(reads) == 1
        with reads_of_the_record(site.app.state.database) as reads:
            for _ in range(10):
                await let_pass(site, CHECK_SECONDS / 10)
        assert len(reads) == 1, "one look at all vaults, for lost notices"
        with reads_of_the_record(site.app.state.database) as reads:
            await site.vault("other")
            for _ in range(20):
                await asyncio.sleep(0)
        assert reads == [], "nobody follows that vault"


async def test_streams_hold_no_connection_while_they_wait(
    database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    async with new_site(database_url, clock, tmp_path, database_pool_size=2) as site:
        await site.vault()
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(Follower(site.app, 0)) for _ in range(20)]
            for stream in streams:
                assert await stream.events(1) == [1]
            assert site.app.state.database.engine.pool.checkedout() == 0
            await site.registration_key()
            for stream in streams:
                assert await stream.events(1) == [2]


async def test_a_slow_client_costs_no_memory_and_misses_nothing(site: Site) -> None:
    await site.vault()
    async with Follower(site.app) as quick, Follower(site.app) as slow:
        await slow.frame()
        slow.stall()
        for _ in range(8):
            await write(site, 200)
            await quick.events(200)
        (channel,) = hub_of(site)._channels.values()
        assert channel.window.after(1_600 - CAPACITY, 1) is None, "the window has its bound"
        held = [value for stream in channel.streams for value in vars(stream).values()]
        assert not [value for value in held if isinstance(value, list | dict | set | bytes)]
        slow.go_on()
        assert await slow.events(1_600) == list(range(2, 1_602))
        await nothing_more(site, slow)


async def test_a_client_that_takes_nothing_is_dropped(site: Site) -> None:
    await site.vault()
    async with Follower(site.app) as stream:
        await stream.frame()
        stream.stall()
        await site.registration_key()
        (channel,) = hub_of(site)._channels.values()
        (followed,) = channel.streams
        while followed._sending_since is None:
            await asyncio.sleep(0)
        await let_pass(site, STALL_SECONDS - 1)
        await asyncio.sleep(0)
        assert not followed.is_dropped
        await let_pass(site, 1)
        assert await stream.rest() == []
        assert followed.is_dropped
        assert not stream.is_complete
    assert hub_of(site)._channels == {}


async def test_a_client_that_leaves_leaves_nothing_behind(site: Site) -> None:
    await site.vault()
    open_before, sent_before = EVENT_STREAMS._value.get(), EVENTS_STREAMED._value.get()
    async with Follower(site.app, 0) as stream, Follower(site.app) as other:
        await stream.events(1)
        assert EVENT_STREAMS._value.get() == open_before + 2
        await other.frame()
        await stream.leave()
        assert EVENT_STREAMS._value.get() == open_before + 1
        other.stall()
        await site.registration_key()
    assert EVENT_STREAMS._value.get() == open_before
    assert EVENTS_STREAMED._value.get() - sent_before in {1, 2}
    assert hub_of(site)._channels == {}
    before = {task for task in asyncio.all_tasks() if not task.done()}
    async with Follower(site.app):
        pass
    while {task for task in asyncio.all_tasks() if not task.done()} - before:
        await asyncio.sleep(0.001)


async def test_a_stream_ends_with_its_token(site: Site) -> None:
    await site.vault()
    deleted = await site.token("reader")
    expires = rfc3339(site.clock.now().replace(year=site.clock.now().year + 1))
    expiring = await site.token("reader", expiresAt=expires)
    lasting = await site.token("reader", "contoso")
    async with (
        Follower(site.app, token=deleted["token"]) as first,
        Follower(site.app, token=expiring["token"]) as second,
        Follower(site.app, token=lasting["token"]) as third,
    ):
        await first.frame()
        assert (await site.client.delete(f"/api/v1/tokens/{deleted['id']}")).status_code == 204
        await let_pass(site, CHECK_SECONDS)
        assert all(frame.data is None for frame in await first.rest())
        assert first.is_complete
        assert (await nothing_more(site, second)).comment
        await let_pass(site, 366 * 86_400)
        assert all(frame.data is None for frame in await second.rest())
        await third.frame()
        assert not third.is_complete
    async with Follower(site.app, token=expiring["token"]) as again:
        assert again.status == 401, "and connecting again tells why"


@pytest.mark.parametrize("query", [{}, {"type": "job."}])
async def test_a_stream_ends_with_its_vault(site: Site, query: dict[str, Any]) -> None:
    await site.vault()
    async with Follower(site.app, **query) as stream:
        await stream.frame()
        assert (await site.client.delete("/api/v1/vaults/contoso")).status_code == 204
        told = [frame.event for frame in await stream.rest() if frame.data is not None]
        assert told == ([] if query else ["vault.deleted"])
        assert stream.is_complete
    async with Follower(site.app, 1) as again:
        assert again.status == 404


async def test_a_vault_that_is_gone_without_a_word_ends_its_streams_too(site: Site, database: Database) -> None:
    await site.vault()
    await site.vault("other")
    async with Follower(site.app) as stream, Follower(site.app, vault="other") as kept:
        async with database.write() as session:
            await session.execute(delete(Vault).where(Vault.name == "contoso"))
        await let_pass(site, CHECK_SECONDS)
        await stream.rest()
        await nothing_more(site, kept)


async def test_what_is_committed_while_a_stream_begins_is_not_missed(site: Site) -> None:
    """Its notice came before anybody followed the vault."""
    await site.vault()
    async with site.app.state.database.read() as session:
        vault_id = (await session.execute(select(Vault.id))).scalar_one()
        place = await place_of(session, vault_id, None)
    token = (await site.client.get("/api/v1/tokens")).json()["items"][0]
    await write(site, 1)
    sent = asyncio.Queue[bytes]()

    async def take(chunk: bytes) -> None:
        sent.put_nowait(chunk)

    stream = hub_of(site).stream(vault_id, uuid.UUID(token["id"]), EVERYTHING, place)
    following = asyncio.create_task(hub_of(site).follow(stream, take))
    assert b"id: 1\n" in await sent.get()
    assert b"id: 2\n" in await sent.get()
    stream.end()
    await following


async def test_events_whose_notice_got_lost_come_with_the_next_look(
    site: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.vault()
    async with Follower(site.app) as stream:
        await stream.frame()
        (channel,) = hub_of(site)._channels.values()
        while channel.reading is not None:
            await asyncio.sleep(0.001)
        with monkeypatch.context() as deaf:
            deaf.setattr(EventHub, "_read_news", lambda *_: None)
            # Another process: what the application on SQLite is told of its own commits, it is not told of this one.
            await record_events(database, site.clock, 3)
            await let_pass(site, CHECK_SECONDS - 1)
        await let_pass(site, 1)
        assert await stream.events(3) == [2, 3, 4]


@pytest.mark.parametrize("is_behind", [False, True])
async def test_an_outage_of_the_database_ends_no_stream(
    site: Site, monkeypatch: pytest.MonkeyPatch, is_behind: bool
) -> None:
    await site.vault()

    async def away(*_: Any) -> Any:
        raise DatabaseUnavailable("the test's database is away")

    if is_behind:
        await write(site, 5)
    async with Follower(site.app, 1, is_stalled=True) as stream:
        with monkeypatch.context() as outage:
            outage.setattr(queries, "read_after", away)
            stream.go_on()
            if not is_behind:
                await write(site, 5)
            for _ in range(3):
                await let_pass(site, 1)
            assert (await stream.frame()).id == 1
            while not stream.waiting:
                await let_pass(site, 1)
                await asyncio.sleep(0.001)
            assert (await stream.frame()).comment == "keep-alive"
        while not stream.waiting:
            await hub_of(site).tick()  # without any time passing: it is not the slow look that finds them
            await asyncio.sleep(0.001)
        assert await stream.events(5) == [2, 3, 4, 5, 6]


async def test_a_record_that_was_set_back_ends_its_streams(site: Site, database: Database) -> None:
    """A failover that lost commits hands numbers out again; whoever saw the old ones must learn it."""
    await site.vault()
    await write(site, 5)
    async with Follower(site.app, 4) as stream:
        await stream.events(2)
        async with database.write() as session:
            await session.execute(delete(Event).where(Event.sequence > 4))
            await session.execute(update(EventCounter).values(last_sequence=4))
        await let_pass(site, CHECK_SECONDS)
        assert [frame for frame in await stream.rest() if frame.data is not None] == []
    async with Follower(site.app, 6) as again:
        assert again.status == 422


async def test_a_process_that_stops_ends_all_streams_and_begins_none(site: Site) -> None:
    await site.vault()
    await write(site, 300)
    async with Follower(site.app) as waiting, Follower(site.app, 0, is_stalled=True) as stalled:
        await waiting.frame()
        hub_of(site).stop()
        assert await waiting.rest() == []
        assert await stalled.rest() == []
        assert (waiting.is_complete, stalled.is_complete) == (True, False)
    async with Follower(site.app) as late:
        assert (late.status, late.problem["code"], late.headers["retry-after"]) == (503, "unavailable", "1")


async def test_the_end_of_the_application_ends_streams(database_url: str, clock: ManualClock, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with new_site(database_url, clock, tmp_path) as site:
            await site.vault()
            stream = await stack.enter_async_context(Follower(site.app, 0))
            assert await stream.events(1) == [1]
        assert all(frame.data is None for frame in await stream.rest())
