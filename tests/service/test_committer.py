"""Group commit: batches, poisoned heartbeats, a database that goes away, the end."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, make_url, select

from app.core.clock import ManualClock, SystemClock
from app.core.db import Database
from app.core.errors import DatabaseUnavailable, Internal, Overloaded
from app.core.migrations import upgrade
from app.core.settings import Settings
from app.heartbeats import committer as committer_module
from app.heartbeats.beats import Beat
from app.heartbeats.writers import PostgresqlWriter
from app.main import create_app
from app.models import Host
from tests.support.heartbeats import beat_for, beat_with, submitted
from tests.support.muster import Site, new_site, registration
from tests.support.postgres import PostgresServer
from tests.support.rows import host_row, host_row_id


async def fleet(site: Site, size: int) -> list[dict[str, Any]]:
    """A configuration server and `size` process servers, each with its first heartbeat behind it."""
    await site.vault()
    server = await site.configuration_server()
    agents = [await site.process_server(server, f"ps-{number}") for number in range(size)]
    for agent in (server, *agents):
        assert (await site.beat(agent, 1, observedGeneration=1)).status_code == 200
    return agents


class Watched:
    """A writer that counts, and can be held or made to fail."""

    def __init__(self, site: Site) -> None:
        self.batches: list[Sequence[Beat]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.poisoned: set[int] = set()
        self.failure: Exception | None = None
        self._committer = site.app.state.committer
        self._writer = self._committer._writers[0]
        # The only one: what it is given shows how batches form.
        self._committer._idle[:] = [self]

    async def write(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        self.batches.append(beats)
        await self.free.wait()
        if self.failure is not None:
            raise self.failure
        if any(beat.sequence in self.poisoned for beat in beats):
            raise ValueError("can't be stored")
        return list(await self._writer.write(beats, now))

    async def close(self) -> None:
        await self._writer.close()


async def until_waiting(site: Site, size: int) -> None:
    """Until as many heartbeats are queued."""
    while len(site.app.state.committer._waiting) < size:
        await asyncio.sleep(0)


async def test_while_one_batch_commits_the_next_gathers(site: Site) -> None:
    agents = await fleet(site, 40)
    writer = Watched(site)
    writer.free.clear()
    first = asyncio.create_task(site.beat(agents[0], 2, observedGeneration=1))
    while not writer.batches:
        await asyncio.sleep(0)
    others = [asyncio.create_task(site.beat(agent, 3, observedGeneration=1)) for agent in agents]
    await until_waiting(site, 40)
    assert not first.done(), "nothing is answered before its commit"
    writer.free.set()
    answers = await asyncio.gather(first, *others)
    assert {answer.status_code for answer in answers} == {200}
    assert [len(batch) for batch in writer.batches] == [1, 40]
    ids = [beat.host for beat in writer.batches[1]]
    assert ids == sorted(ids)


async def test_a_batch_is_one_update(site: Site, database_kind: str) -> None:
    agents = await fleet(site, 20)
    statements: list[str] = []
    event.listen(
        site.app.state.database.engine.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )
    writer = Watched(site)
    answers = await asyncio.gather(*(site.beat(agent, 2, observedGeneration=1) for agent in agents))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(len(batch) for batch in writer.batches) == 20
    assert len(writer.batches) <= 2
    assert statements == [], "the hot path needs nothing but its own statement"


async def test_heartbeats_of_one_host_in_a_batch_are_stored_as_the_newest(site: Site, database: Database) -> None:
    (agent,) = await fleet(site, 1)
    writer = Watched(site)
    writer.free.clear()
    order = [5, 9, 2, 9, 7]
    waiting = [asyncio.create_task(site.beat(agent, 2, observedGeneration=1))]
    while not writer.batches:
        await asyncio.sleep(0)
    waiting += [asyncio.create_task(site.beat(agent, number, telemetry={"cpuPercentage": number})) for number in order]
    await until_waiting(site, len(order))
    writer.free.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert [len(batch) for batch in writer.batches] == [1, 1]
    row = await host_row(database, agent)
    assert (row.sequence, row.cpu_percentage) == (9, 9.0)


async def test_the_batch_has_a_bound(database_url: str, clock: ManualClock, tmp_path: Any) -> None:
    async with new_site(database_url, clock, tmp_path, heartbeat_batch_size=7) as site:
        agents = await fleet(site, 20)
        writer = Watched(site)
        await asyncio.gather(*(site.beat(agent, 2, observedGeneration=1) for agent in agents))
        assert max(len(batch) for batch in writer.batches) <= 7
        assert sum(len(batch) for batch in writer.batches) == 20


async def test_a_poisoned_heartbeat_fails_alone(site: Site, database: Database) -> None:
    agents = await fleet(site, 10)
    writer = Watched(site)
    writer.poisoned = {666}
    futures = [submitted(site, beat_for(agent, 666 if number == 4 else 2)) for number, agent in enumerate(agents)]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(outcomes[4], Internal)
    assert not [outcome for number, outcome in enumerate(outcomes) if number != 4 and isinstance(outcome, Exception)]
    assert [(await host_row(database, agent)).sequence for agent in agents] == [2] * 4 + [1] + [2] * 5
    assert (await site.beat(agents[4], 2)).status_code == 200


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_what_postgresql_itself_refuses_fails_alone(site: Site, database: Database) -> None:
    agents = await fleet(site, 6)
    poison: dict[int, dict[str, Any]] = {
        0: {"cpu_percentage": "much"},
        1: {"sequence": 2**63},
        2: {"services": {"a": "\x00"}, "key": b"another"},
    }
    futures = [
        submitted(site, beat_for(agent, 2)._replace(**poison.get(number, {}))) for number, agent in enumerate(agents)
    ]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert [isinstance(outcome, Internal) for outcome in outcomes] == [True] * 3 + [False] * 3
    assert [(await host_row(database, agent)).sequence for agent in agents] == [1, 1, 1, 2, 2, 2]


async def test_a_first_heartbeat_that_can_not_be_settled_fails_alone(site: Site, database: Database) -> None:
    await site.vault()
    server = await site.configuration_server()
    agents = [await site.process_server(server, f"ps-{number}") for number in range(5)]
    futures = [
        submitted(site, beat_for(agent, 1, services={"a": object()} if number == 2 else None))
        for number, agent in enumerate(agents)
    ]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert [isinstance(outcome, Internal) for outcome in outcomes] == [False, False, True, False, False]
    assert [(await host_row(database, agent)).sequence for agent in agents] == [1, 1, 0, 1, 1]
    types = await site.event_types()
    assert types.count("process-server.connected") == 4


async def test_a_wrong_credential_fails_alone(site: Site, database: Database) -> None:
    agents = await fleet(site, 4)
    wrong = beat_for(agents[1], 7)._replace(digest=b"x" * 32, key=b"y" * 32)
    futures = [submitted(site, beat) for beat in (beat_for(agents[0], 2), wrong, beat_for(agents[1], 2))]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False]
    assert (await host_row(database, agents[1])).sequence == 2


async def test_two_credentials_of_one_host_in_a_batch_are_each_judged(site: Site, database: Database) -> None:
    (old,) = await fleet(site, 1)
    server = {"configurationServer": "cs-1", "passphrase": "?"}
    issued = await site.client.post("/api/v1/vaults/contoso/configuration-servers/cs-1/passphrase")
    server["passphrase"] = issued.json()["passphrase"]
    new = (await site.agent_post("/agent/v1/process-servers/register", registration(server, "ps-0"))).json()
    futures = [submitted(site, beat_for(agent, 2)) for agent in (old, new)]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert (await site.beat(old, 3)).status_code == 401
    assert (await site.beat(new, 3)).status_code == 200


async def test_a_full_queue_is_503_with_retry_after(database_url: str, clock: ManualClock, tmp_path: Any) -> None:
    async with new_site(database_url, clock, tmp_path, heartbeat_queue_size=3) as site:
        agents = await fleet(site, 6)
        writer = Watched(site)
        writer.free.clear()
        accepted = [asyncio.create_task(site.beat(agents[0], 2))]
        while not writer.batches:
            await asyncio.sleep(0)
        accepted += [asyncio.create_task(site.beat(agent, 2)) for agent in agents[1:4]]
        await until_waiting(site, 3)
        refused = await site.beat(agents[4], 2)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert 1 <= int(refused.headers["Retry-After"]) <= committer_module.MAX_RETRY_AFTER_SECONDS
        writer.free.set()
        assert {answer.status_code for answer in await asyncio.gather(*accepted)} == {200}
        assert (await site.beat(agents[4], 2)).status_code == 200


async def test_a_client_that_went_away_takes_nobody_along(site: Site, database: Database) -> None:
    agents = await fleet(site, 3)
    writer = Watched(site)
    writer.free.clear()
    waiting = [asyncio.create_task(site.beat(agent, 2)) for agent in agents]
    while not writer.batches:
        await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    writer.free.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert [answer.status_code for answer in answers if not isinstance(answer, BaseException)] == [200, 200]


async def test_the_end_stores_and_answers_what_is_queued(
    database_url: str, clock: ManualClock, tmp_path: Any, database: Database
) -> None:
    async with new_site(database_url, clock, tmp_path, heartbeat_batch_size=4) as site:
        agents = await fleet(site, 15)
        committer = site.app.state.committer
        futures = [submitted(site, beat_for(agent, 2)) for agent in agents]
        await committer.stop()
        assert all(future.done() and future.exception() is None for future in futures)
        assert {(await host_row(database, agent)).sequence for agent in agents} == {2}
        with pytest.raises(Overloaded):
            submitted(site, beat_for(agents[0], 3))


async def test_the_end_asks_a_database_that_is_gone_only_once(
    database_url: str, clock: ManualClock, tmp_path: Any
) -> None:
    async with new_site(database_url, clock, tmp_path, heartbeat_batch_size=2) as site:
        agents = await fleet(site, 10)
        writer = Watched(site)
        writer.failure = DatabaseUnavailable("gone")
        committer = site.app.state.committer
        futures = [submitted(site, beat_for(agent, 2)) for agent in agents]
        await committer.stop()
        assert all(isinstance(future.exception(), DatabaseUnavailable) for future in futures)
        assert len(writer.batches) == 1


async def test_a_desired_state_that_can_not_be_read_spoils_no_heartbeat(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (agent,) = await fleet(site, 1)

    async def broken(*_arguments: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(committer_module, "desired_states", broken)
    answer = await site.beat(agent, 2, observedGeneration=0)
    assert answer.status_code == 200
    assert "desired" not in answer.json()


async def test_a_fault_of_ours_is_500_and_the_next_heartbeat_is_fine(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (agent,) = await fleet(site, 1)
    committer = site.app.state.committer
    original = committer._commit

    async def broken(_batch: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(committer, "_commit", broken)
    assert (await site.beat(agent, 2)).status_code == 500
    monkeypatch.setattr(committer, "_commit", original)
    assert (await site.beat(agent, 2)).status_code == 200


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_locked_sqlite_file_is_503_until_it_is_free(
    database_url: str, clock: ManualClock, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.sqlite.BUSY_SECONDS", 0.05)
    async with new_site(database_url, clock, tmp_path) as site:
        agents = await fleet(site, 2)
        with closing(sqlite3.connect(make_url(database_url).database or "", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answers = await asyncio.gather(*(site.beat(agent, 2) for agent in agents))
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.json()["code"] for answer in answers} == {"database-unavailable"}
            assert answers[0].headers["Retry-After"] == "5"
            assert (await site.client.get("/api/v1/vaults")).status_code == 200, "reading goes on"
            other.execute("ROLLBACK")
        answers = await asyncio.gather(*(site.beat(agent, 2) for agent in agents))
        assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_host_that_somebody_holds_keeps_no_other_waiting(
    site: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.heartbeats.writers.LOCK_TIMEOUT_MILLISECONDS", 50)
    agents = await fleet(site, 4)
    async with database.write() as session:
        await session.execute(select(Host).where(Host.id == host_row_id(agents[1])).with_for_update())
        replies = [submitted(site, beat_for(agent, 2)) for agent in agents]
        found = await asyncio.gather(*replies, return_exceptions=True)
    assert [isinstance(reply, DatabaseUnavailable) for reply in found] == [False, True, False, False]
    assert "being changed by somebody else" in str(found[1].detail)  # type: ignore[union-attr]
    assert (await site.beat(agents[1], 2)).status_code == 200
    for agent in agents:
        assert (await host_row(database, agent)).sequence == 2


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server that this module's tests may stop and kill."""
    with PostgresServer.start() as server:
        yield server


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_postgresql_goes_away_and_comes_back(
    own_postgres: PostgresServer, clock: ManualClock, tmp_path: Any, end: str
) -> None:
    url = await own_postgres.create_database_async(f"outage_{end}")
    database = Database(url)
    await upgrade(database)
    async with new_site(url, clock, tmp_path) as site:
        agents = await fleet(site, 3)
        await site.tick()
        await asyncio.to_thread(getattr(own_postgres, end))
        for _ in range(2):
            answers = await asyncio.gather(*(site.beat(agent, 2) for agent in agents))
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.json()["code"] for answer in answers} == {"database-unavailable"}
            assert all(answer.headers["Retry-After"] for answer in answers)
        with pytest.raises(DatabaseUnavailable):
            await site.tick()
        assert (await site.client.get("/api/v1/vaults")).status_code == 503
        await asyncio.to_thread(own_postgres.restart)
        answers = await asyncio.gather(*(site.beat(agent, 2) for agent in agents))
        assert {answer.status_code for answer in answers} == {200}
        assert await site.tick() == 0
        assert (await site.client.get("/api/v1/vaults")).status_code == 200
        sequences = {(await host_row(database, agent)).sequence for agent in agents}
        assert sequences == {2}
    await database.close()


async def test_an_application_that_starts_before_its_database_takes_the_time_from_it_first(
    own_postgres: PostgresServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host's wrong clock must not slip in between the database's return and the next measurement."""
    url = await own_postgres.create_database_async("late_start")
    database = Database(url)
    await upgrade(database)
    await database.close()
    await asyncio.to_thread(own_postgres.stop)
    clock = SystemClock()
    application = create_app(Settings(database_url=url, data_dir=tmp_path), clock, runs_tasks=False)
    async with application.lifespan():
        assert not clock.is_measured
        await asyncio.to_thread(own_postgres.restart)
        assert await application.state.monitor.tick() == 0
        assert clock.is_measured


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_the_hot_paths_connection_takes_what_the_urls_query_says(
    database_url: str, postgres: PostgresServer, clock: ManualClock
) -> None:
    name = make_url(database_url).database
    query = f"prepared_statement_cache_size=0&host={postgres.socket_folder}&port={postgres.port}"
    for url in (f"{database_url}?ssl=disable", f"postgresql+asyncpg://postgres@/{name}?{query}"):
        database = Database(url)
        writer = PostgresqlWriter(database, timedelta(seconds=900))
        beat = beat_with("0" * 32, b"x", 1)
        assert await writer.write([beat], clock.now()) == [None]
        await writer.close()
        await database.close()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_connection_that_is_cut_off_is_made_anew(site: Site, database_url: str) -> None:
    (agent,) = await fleet(site, 1)
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND "
    assert len(await connection.fetch(query + "application_name = 'muster heartbeats'")) == 1
    await connection.close()
    statuses = [(await site.beat(agent, 2)).status_code for _ in range(3)]
    assert statuses[1:] == [200, 200]
    assert statuses[0] in {200, 503}
