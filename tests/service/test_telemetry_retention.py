"""Retention of telemetry history: small transactions that nobody waits for."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from app.connection.rules import bucket_of
from app.core.clock import ManualClock
from app.core.db import Database
from app.models import TelemetryBucket
from app.telemetry import queries, tasks
from app.telemetry.queries import BUCKETS
from app.telemetry.rules import Sample
from tests.support.muster import Site, new_site
from tests.support.plans import plans_of, scanned
from tests.support.rows import count, host_row_id
from tests.support.telemetry import START, finished, new_hosts, put, put_buckets

FIRST = bucket_of(START)
A_DAY = 288
POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


async def present(database: Database) -> tuple[int, int, int]:
    """How many buckets there are, the oldest and the newest."""
    async with database.read() as session:
        row = (
            await session.execute(select(func.count(), func.min(BUCKETS.c.bucket), func.max(BUCKETS.c.bucket)))
        ).one()
        return tuple(row)


def batches_of(monkeypatch: pytest.MonkeyPatch, size: int, before: Callable[[int], Any] | None = None) -> list[int]:
    """Let batches be of `size`; `before` is called ahead of each with its number. Returns what each deleted."""
    deleted: list[int] = []
    original = queries.delete_before

    async def watched(session: Any, bucket: int, limit: int) -> int:
        if before is not None:
            before(len(deleted))
        deleted.append(await original(session, bucket, limit))
        return deleted[-1]

    monkeypatch.setattr(queries, "delete_before", watched)
    monkeypatch.setattr(tasks, "BUCKETS_PER_TRANSACTION", size)
    return deleted


async def test_buckets_are_kept_to_the_last_one_that_retention_touches(database: Database) -> None:
    hosts = await new_hosts(database, 2)
    await put_buckets(database, hosts, range(FIRST, FIRST + 2 * A_DAY))
    for late, kept_from in ((0, FIRST), (299.9, FIRST), (300, FIRST + 1), (24 * 3_600, FIRST + A_DAY)):
        now = START + timedelta(days=7, seconds=late)
        expected = kept_from - (await present(database))[1]
        assert await tasks.delete_expired(database, now, 7) == expected * len(hosts)
        assert await present(database) == ((FIRST + 2 * A_DAY - kept_from) * 2, kept_from, FIRST + 2 * A_DAY - 1)


async def test_it_deletes_the_oldest_first_in_small_transactions(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = await new_hosts(database, 3)
    await put_buckets(database, hosts, range(FIRST, FIRST + 12))
    deleted = batches_of(monkeypatch, 10)
    assert await tasks.delete_expired(database, START + timedelta(days=7, hours=1), 7) == 36
    assert deleted == [10, 10, 10, 6]
    assert await tasks.delete_expired(database, START + timedelta(days=7, hours=1), 7) == 0


async def test_what_a_failure_leaves_the_next_run_deletes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    (host,) = await new_hosts(database, 1)
    await put_buckets(database, [host], range(FIRST, FIRST + 40))

    def fails_at_the_third(number: int) -> None:
        if number == 2:
            raise ZeroDivisionError

    batches_of(monkeypatch, 10, fails_at_the_third)
    now = START + timedelta(days=7, seconds=30 * 300)
    with pytest.raises(ZeroDivisionError):
        await tasks.delete_expired(database, now, 7)
    assert await present(database) == (20, FIRST + 20, FIRST + 39), "two batches are gone for good"
    monkeypatch.undo()
    assert await tasks.delete_expired(database, now, 7) == 10
    assert await present(database) == (10, FIRST + 30, FIRST + 39)


async def test_heartbeats_have_their_turn_between_the_batches(
    site: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on SQLite, where there is one writer: whoever waits is next, not the next batch."""
    await site.vault()
    agent = await site.configuration_server()
    assert (await site.beat(agent, 1)).status_code == 200
    await put_buckets(database, [uuid.uuid4() for _ in range(20)], range(FIRST, FIRST + 20))
    site.manual_clock.advance(8 * 24 * 3_600)
    order: list[str] = []
    waiting: list[asyncio.Task[None]] = []

    async def beat(sequence: int) -> None:
        assert (await site.beat(agent, sequence, telemetry={"cpuPercentage": 1.0})).status_code == 200
        order.append("beat")

    def before(number: int) -> None:
        order.append("batch")
        waiting.append(asyncio.create_task(beat(number + 2)))

    deleted = batches_of(monkeypatch, 20, before)
    await site.app.state.housekeeping.tick()
    await asyncio.gather(*waiting)
    assert sum(deleted) == 400
    assert await count(database, TelemetryBucket) == 0
    last = len(order) - 1 - order[::-1].index("batch")
    assert order[:last].count("beat") >= 5, order


async def test_the_setting_decides_and_a_bucket_being_filled_stays(
    database_url: str, clock: ManualClock, tmp_path: Path, database: Database
) -> None:
    async with new_site(database_url, clock, tmp_path, telemetry_retention_days=2) as site:
        await site.vault()
        agent = await site.configuration_server()
        host = host_row_id(agent)
        await put(database, host, [(0, Sample(1.0)), (300, Sample(2.0)), (600, Sample(3.0))])
        clock.advance(2 * 24 * 3_600 + 300)
        await site.app.state.housekeeping.tick()
        assert set(await finished(database, host)) == {FIRST + 1}
        clock.advance(24 * 3_600)
        await site.app.state.housekeeping.tick()
        assert await finished(database, host) == {}
        # Silent for longer than the retention: what it was filling moves on, and goes with the next run.
        await put(database, host, [(20 * 24 * 3_600, Sample(4.0))])
        assert set(await finished(database, host)) == {FIRST + 2}
        await site.app.state.housekeeping.tick()
        assert await finished(database, host) == {}


@pytest.fixture
async def replicas(database_url: str) -> AsyncIterator[list[Database]]:
    """Three of them on one database."""
    opened = [Database(database_url) for _ in range(3)]
    yield opened
    for replica in opened:
        await replica.close()


async def test_replicas_that_delete_at_once_share_the_work(
    database: Database, replicas: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = await new_hosts(database, 10)
    await put_buckets(database, hosts, range(FIRST, FIRST + 40))
    monkeypatch.setattr(tasks, "BUCKETS_PER_TRANSACTION", 7)
    now = START + timedelta(days=7, seconds=30 * 300)
    found = await asyncio.gather(*(tasks.delete_expired(replica, now, 7) for replica in replicas))
    assert sum(found) + await tasks.delete_expired(database, now, 7) == 300
    assert await present(database) == (100, FIRST + 30, FIRST + 39)


@POSTGRESQL
async def test_it_passes_over_what_another_has_locked(database: Database) -> None:
    (host,) = await new_hosts(database, 1)
    await put_buckets(database, [host], range(FIRST, FIRST + 5))
    now = START + timedelta(days=8)
    async with database.write() as session:
        await session.execute(select(BUCKETS).where(BUCKETS.c.bucket == FIRST + 2).with_for_update())
        assert await tasks.delete_expired(database, now, 7) == 4
    assert await tasks.delete_expired(database, now, 7) == 1


async def test_deleting_goes_by_the_indexes(database: Database) -> None:
    hosts = await new_hosts(database, 60)
    await put_buckets(database, hosts, range(FIRST, FIRST + 1_000))
    async with database.write() as session:
        await session.execute(text("ANALYZE"))
    plans = await plans_of(
        database, "telemetry_buckets", lambda session: queries.delete_before(session, FIRST + 2, 500)
    )
    assert (await present(database))[:2] == (60 * 998, FIRST + 2)
    (choosing, deleting) = plans.values()
    assert "ix_telemetry_buckets_bucket" in choosing, choosing
    assert ("sqlite_autoindex_telemetry_buckets_1" if database.is_sqlite else "pk_telemetry_buckets") in deleting
    assert not scanned(choosing + deleting, "telemetry_buckets"), plans
