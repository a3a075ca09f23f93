"""The database's promises: what is committed, what is not, who waits, which errors come out."""

import asyncio
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError

from app.core import sqlite
from app.core.clock import ManualClock, SystemClock
from app.core.db import Database, UtcDateTime, add_unique, after_commit, before_commit
from app.core.errors import Conflict, DatabaseUnavailable
from app.models import IdempotentAnswer, Outage, Vault
from tests.support.postgres import PostgresServer
from tests.support.rows import count

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def vault(name: str) -> Vault:
    return Vault(name=name, friendly_name=name, location="x", created_at=NOW, updated_at=NOW)


async def test_a_write_is_seen_after_it_and_not_before(database: Database, database_url: str) -> None:
    other = Database(database_url)
    async with database.write() as session:
        session.add(vault("one"))
        await session.flush()
        assert await count(other, Vault) == 0
    assert await count(other, Vault) == 1
    await other.close()


async def test_whatever_is_raised_takes_the_write_back(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the end of the write is what is tried
        async with database.write() as session:
            session.add(vault("one"))
            await session.flush()
            raise ZeroDivisionError
    assert await count(database, Vault) == 0


async def test_a_cancelled_write_is_taken_back_and_blocks_nobody(database: Database) -> None:
    began = asyncio.Event()

    async def endless() -> None:
        async with database.write() as session:
            session.add(vault("one"))
            await session.flush()
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(endless())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.write() as session:
        session.add(vault("two"))
    assert await count(database, Vault) == 1


async def test_notices_follow_the_commit_and_actions_go_before_it(database: Database) -> None:
    order: list[str] = []

    async def action(_session: Any) -> None:
        order.append("before")

    async with database.write() as session:
        before_commit(session, action)
        after_commit(session, lambda: order.append("after"))
        order.append("body")
    assert order == ["body", "before", "after"]
    with pytest.raises(Conflict):  # noqa: PT012
        async with database.write() as session:
            after_commit(session, lambda: order.append("never"))
            session.add_all([vault("same"), vault("same")])
    assert "never" not in order


async def test_no_update_is_lost_between_concurrent_writers(database: Database) -> None:
    async with database.write() as session:
        session.add(vault("one"))

    async def add_one() -> None:
        async with database.write() as session:
            row = (await session.execute(select(Vault).with_for_update(key_share=True))).scalar_one()
            row.revision = row.revision + 1

    await asyncio.gather(*(add_one() for _ in range(40)))
    async with database.read() as session:
        assert (await session.execute(select(Vault.revision))).scalar_one() == 41


@SQLITE
async def test_two_processes_on_one_file_take_turns(database: Database, database_url: str) -> None:
    """BEGIN IMMEDIATE: a transaction that reads first and writes later waits at its beginning."""
    other = Database(database_url)
    async with database.write() as session:
        session.add(vault("one"))

    async def add_one(through: Database) -> None:
        async with through.write() as session:
            (revision,) = (await session.execute(select(Vault.revision))).scalars()
            await session.execute(update(Vault).values(revision=revision + 1))

    await asyncio.gather(*(add_one(through) for through in [database, other] * 10))
    async with database.read() as session:
        assert (await session.execute(select(Vault.revision))).scalar_one() == 21
    await other.close()


@SQLITE
async def test_every_sqlite_connection_is_durable_and_checks_foreign_keys(database: Database) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}
    async with database.read() as session:
        for pragma, value in wanted.items():
            assert (await session.execute(text(f"PRAGMA {pragma}"))).scalar_one() == value


@SQLITE
async def test_reading_goes_on_while_somebody_writes(database: Database) -> None:
    async with database.write() as session:
        session.add(vault("one"))
        await session.flush()
        assert await count(database, Vault) == 0


@SQLITE
async def test_a_locked_file_is_unavailable(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.core.sqlite.BUSY_SECONDS", 0.05)
    database = Database(database_url)
    with closing(sqlite3.connect(database.url.database or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable) as error:
            async with database.write() as session:
                session.add(vault("one"))
        other.execute("ROLLBACK")
    assert error.value.headers["Retry-After"]
    async with database.write() as session:
        session.add(vault("one"))
    await database.close()


@POSTGRESQL
async def test_a_connection_that_is_cut_off_is_unavailable_and_then_replaced(
    database: Database, postgres: PostgresServer
) -> None:
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012
        async with database.write() as session:
            pid = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            await postgres.execute(f"SELECT pg_terminate_backend({pid})")
            session.add(vault("one"))
    assert await count(database, Vault) == 0
    async with database.write() as session:
        session.add(vault("one"))
    assert await count(database, Vault) == 1


@POSTGRESQL
async def test_connections_that_were_closed_while_idle_are_replaced_unasked(
    database: Database, postgres: PostgresServer
) -> None:
    async with database.read() as first, database.read() as second:
        pids = {
            int((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()) for session in (first, second)
        }
        raw = [await (await session.connection()).get_raw_connection() for session in (first, second)]
        drivers = [connection.driver_connection for connection in raw]
    assert len(pids) == 2
    for pid in pids:
        await postgres.execute(f"SELECT pg_terminate_backend({pid})")
    while not all(driver is not None and driver.is_closed() for driver in drivers):
        await asyncio.sleep(0)
    for _ in pids:
        async with database.read() as session:
            assert (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one() not in pids


@SQLITE
async def test_a_statement_is_one_visit_to_the_connections_thread(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits: list[Any] = []
    visit = sqlite.Connection._execute

    async def counted(connection: sqlite.Connection, *arguments: Any) -> Any:
        visits.append(arguments)
        return await visit(connection, *arguments)  # type: ignore[no-untyped-call]

    async with database.write() as session:
        await session.connection()
        monkeypatch.setattr(sqlite.Connection, "_execute", counted)
        session.add_all([vault("one"), vault("two"), vault("three")])
        await session.flush()
        assert len(visits) == 1, "three rows are one statement"
        renamed = await session.execute(
            update(Vault).where(Vault.name != "one").values(location="y").returning(Vault.name)
        )
        assert set(renamed.scalars()) == {"two", "three"}
        assert len(visits) == 2
        changed = await session.execute(update(Vault).values(location="z"))
        assert (changed.rowcount, len(visits)) == (3, 3)  # type: ignore[attr-defined]
        assert len((await session.execute(select(Vault))).scalars().all()) == 3
        assert len(visits) == 4
        with pytest.raises(OperationalError, match="no such table"):
            await session.execute(text("SELECT * FROM nowhere"))


@POSTGRESQL
async def test_a_deadlock_and_a_lock_timeout_are_asked_to_try_again(database: Database) -> None:
    async with database.write() as session:
        session.add_all([vault("one"), vault("two")])
    met = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> None:
        async with database.write() as session:
            await session.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
            await session.execute(update(Vault).where(Vault.name == first).values(location="y"))
            await met.wait()
            await session.execute(update(Vault).where(Vault.name == second).values(location="y"))

    outcomes = await asyncio.gather(lock("one", "two"), lock("two", "one"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [DatabaseUnavailable]

    async with database.write() as session:
        await session.execute(update(Vault).values(location="z"))
        with pytest.raises(DatabaseUnavailable):  # noqa: PT012
            async with database.write() as waiting:
                await waiting.execute(text("SET LOCAL lock_timeout = '10ms'"))
                await waiting.execute(update(Vault).values(location="w"))


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    database = Database("postgresql+asyncpg://postgres@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable):
        async with database.read() as session:
            await session.execute(text("SELECT 1"))
    await database.close()


async def test_a_constraint_is_a_conflict(database: Database) -> None:
    async with database.write() as session:
        session.add(vault("one"))
    with pytest.raises(Conflict):
        async with database.write() as session:
            session.add(vault("one"))


async def test_a_refused_insert_leaves_the_transaction_usable(database: Database) -> None:
    async with database.write() as session:
        session.add(vault("one"))
    taken = Conflict("taken")
    async with database.write() as session:
        with pytest.raises(Conflict) as error:
            await add_unique(session, vault("one"), taken)
        assert error.value is taken
        await add_unique(session, vault("two"), taken)
    assert await count(database, Vault) == 2


@pytest.mark.parametrize(
    "moment",
    [NOW, datetime(2026, 6, 1, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))],
)
async def test_times_come_back_as_the_same_moment_in_utc(database: Database, moment: datetime) -> None:
    async with database.write() as session:
        session.add(Outage(started_at=moment, ended_at=moment))
    async with database.read() as session:
        found = (await session.execute(select(Outage.started_at).where(Outage.ended_at <= moment))).scalar_one()
    assert found == moment
    assert found.tzinfo is UTC


async def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="without a time zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), database.engine.dialect)  # noqa: DTZ001


async def test_bytes_and_identifiers_come_back(database: Database) -> None:
    identity = bytes(range(32))
    async with database.write() as session:
        session.add(IdempotentAnswer(id=identity, fingerprint=b"\x00\xff", sealed=None, created_at=NOW))
        session.add(one := vault("one"))
    async with database.read() as session:
        assert (await session.execute(select(IdempotentAnswer.fingerprint))).scalar_one() == b"\x00\xff"
        assert (await session.execute(select(Vault.id))).scalar_one() == one.id
        assert isinstance(one.id, uuid.UUID)


async def test_the_clock_is_moved_onto_the_databases(database: Database) -> None:
    clock = SystemClock()
    await database.measure(clock)
    assert clock.is_measured is not database.is_sqlite
    if database.is_sqlite:
        return
    clock.synchronise(NOW, 0, 0)  # far off
    await database.measure(clock)
    assert abs((clock.now() - NOW).days) < 3650 * 10
    assert await database.synchronise(clock) != 0.0
    async with database.read() as session:
        there = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    assert abs((clock.now() - there).total_seconds()) < 5


async def test_a_manual_clock_is_left_alone(database: Database) -> None:
    clock = ManualClock()
    await database.measure(clock)
    assert clock.now() == NOW
