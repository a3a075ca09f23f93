"""Telemetry history in the database: what heartbeats add to a bucket, and how a filled one moves on."""

import asyncio
import random
import uuid
from collections import defaultdict
from datetime import datetime, timedelta

import pytest

from app.connection.rules import BUCKET_SECONDS, bucket_of
from app.core.db import Database
from app.models import METRICS
from app.telemetry import queries
from app.telemetry.rules import Sample
from tests.support.telemetry import START, filling, finished, new_hosts, statistics_of

POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
FIRST = bucket_of(START)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def sample(value: float) -> Sample:
    """A different value for each metric."""
    return Sample(*(value + position for position in range(len(METRICS))))


async def send(database: Database, host: uuid.UUID, said: Sample, now: datetime) -> None:
    async with database.write() as session:
        await queries.accumulate(session, [(host, said)], now)


def test_a_sample_has_exactly_the_metrics() -> None:
    assert Sample._fields == METRICS


async def test_one_bucket_counts_sums_and_keeps_least_and_greatest(database: Database) -> None:
    (host,) = await new_hosts(database, 1)
    said = [sample(value) for value in (40, 10, 90)]
    for seconds, one in zip((0, 30, 299.999), said, strict=True):
        await send(database, host, one, after(seconds))
    assert await filling(database, host) == (FIRST, statistics_of(said))
    assert await finished(database, host) == {}


async def test_a_bucket_ends_at_its_edge(database: Database) -> None:
    (host,) = await new_hosts(database, 1)
    await send(database, host, sample(1), after(BUCKET_SECONDS - 0.001))
    await send(database, host, sample(2), after(BUCKET_SECONDS))
    assert await finished(database, host) == {FIRST: statistics_of([sample(1)])}
    assert await filling(database, host) == (FIRST + 1, statistics_of([sample(2)]))


async def test_what_a_heartbeat_leaves_out_counts_nothing(database: Database) -> None:
    (host,) = await new_hosts(database, 1)
    said = [Sample(), Sample(cpu_percentage=0.0), Sample(pending_bytes=7), Sample(cpu_percentage=50.0)]
    for one in said:
        await send(database, host, one, START)
    _, found = await filling(database, host)
    assert found["cpu_percentage"] == (2, 50.0, 0.0, 50.0)
    assert found["pending_bytes"] == (1, 7.0, 7.0, 7.0)
    assert found["throughput_bytes"] == (0, 0.0, None, None)


async def test_a_bucket_in_which_nothing_was_counted_leaves_no_row(database: Database) -> None:
    (host,) = await new_hosts(database, 1)
    await send(database, host, Sample(), START)
    await send(database, host, Sample(), after(BUCKET_SECONDS))
    assert await finished(database, host) == {}
    assert (await filling(database, host))[0] == FIRST + 1


async def test_after_hours_of_silence_the_old_bucket_moves_on_and_the_gap_stays_one(database: Database) -> None:
    (host,) = await new_hosts(database, 1)
    await send(database, host, sample(1), START)
    await send(database, host, sample(2), after(5 * 3_600))
    await send(database, host, sample(3), after(5 * 3_600 + BUCKET_SECONDS))
    assert await finished(database, host) == {
        FIRST: statistics_of([sample(1)]),
        FIRST + 60: statistics_of([sample(2)]),
    }


async def test_a_clock_set_back_adds_to_the_bucket_that_comes_back(database: Database) -> None:
    (host,) = await new_hosts(database, 1)
    in_order = [(0, 10), (300, 20), (10, 5), (600, 30), (310, 99), (900, 1)]
    by_bucket: dict[int, list[Sample]] = defaultdict(list)
    for seconds, value in in_order:
        await send(database, host, sample(value), after(seconds))
        by_bucket[bucket_of(after(seconds))].append(sample(value))
    last = bucket_of(after(900))
    expected = {bucket: statistics_of(said) for bucket, said in by_bucket.items()}
    assert await filling(database, host) == (last, expected.pop(last))
    assert await finished(database, host) == expected


async def test_a_bucket_that_comes_back_keeps_gaps_and_values_of_both_halves(database: Database) -> None:
    """NULL is no value when two halves are merged, on whichever side it is."""
    (host,) = await new_hosts(database, 1)
    await send(database, host, Sample(cpu_percentage=5.0), START)
    await send(database, host, sample(1), after(300))
    await send(database, host, Sample(pending_bytes=6), after(10))
    await send(database, host, sample(1), after(600))
    first = (await finished(database, host))[FIRST]
    assert first["cpu_percentage"] == (1, 5.0, 5.0, 5.0)
    assert first["pending_bytes"] == (1, 6.0, 6.0, 6.0)
    assert first["total_memory_bytes"] == (0, 0.0, None, None)


async def test_many_hosts_and_one_that_occurs_twice(database: Database) -> None:
    hosts = await new_hosts(database, 5)
    said = [(host, sample(number)) for number, host in enumerate(hosts)] + [(hosts[2], sample(70))]
    async with database.write() as session:
        await queries.accumulate(session, said[::-1], START)
    for number, host in enumerate(hosts):
        expected = [sample(number)] + ([sample(70)] if number == 2 else [])
        assert await filling(database, host) == (FIRST, statistics_of(expected))


async def test_a_roll_touches_only_those_that_are_behind(database: Database) -> None:
    behind, present, untouched = await new_hosts(database, 3)
    await send(database, behind, sample(1), START)
    await send(database, present, sample(2), after(300))
    await send(database, untouched, sample(3), START)
    async with database.write() as session:
        await queries.roll(session, [behind, present], FIRST + 1)
        await queries.roll(session, [behind, present], FIRST + 1)
        await queries.accumulate(session, [], after(900))
    assert await finished(database, behind) == {FIRST: statistics_of([sample(1)])}
    assert await filling(database, behind) == (FIRST + 1, statistics_of([]))
    assert await filling(database, present) == (FIRST + 1, statistics_of([sample(2)]))
    assert await filling(database, untouched) == (FIRST, statistics_of([sample(3)]))


async def test_what_was_rolled_back_is_in_neither_place(database: Database) -> None:
    (host,) = await new_hosts(database, 1)
    await send(database, host, sample(1), START)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with database.write() as session:
            await queries.accumulate(session, [(host, sample(2))], after(300))
            raise ZeroDivisionError
    assert await filling(database, host) == (FIRST, statistics_of([sample(1)]))
    assert await finished(database, host) == {}


@POSTGRESQL
async def test_who_waits_for_the_lock_does_not_move_the_same_bucket_again(database: Database) -> None:
    (host,) = await new_hosts(database, 1)
    await send(database, host, sample(1), START)
    second: asyncio.Task[None] | None = None
    async with database.write() as session:
        await queries.accumulate(session, [(host, sample(2))], after(300))
        second = asyncio.create_task(send(database, host, sample(3), after(301)))
        done, _ = await asyncio.wait([second], timeout=0.2)
        assert not done, "the second writer waits for the first"
    await second
    assert await finished(database, host) == {FIRST: statistics_of([sample(1)])}
    assert await filling(database, host) == (FIRST + 1, statistics_of([sample(2), sample(3)]))


async def test_writers_at_once_lose_and_double_nothing(database: Database, database_url: str) -> None:
    """Several replicas beat for the same hosts over several edges, with clocks that differ by a little."""
    hosts = await new_hosts(database, 3)
    replicas = [database, Database(database_url), Database(database_url)]
    chance = random.Random(11)
    sent: dict[uuid.UUID, dict[int, list[Sample]]] = {host: defaultdict(list) for host in hosts}

    async def replica(through: Database, skew_seconds: float) -> None:
        for turn in range(30):
            now = after(turn * 60 + skew_seconds)
            chosen = chance.sample(hosts, 2)
            said = [(host, sample(chance.randrange(100))) for host in chosen]
            for host, one in said:
                sent[host][bucket_of(now)].append(one)
            async with through.write() as session:
                await queries.accumulate(session, said, now)

    await asyncio.gather(*(replica(through, 45 * number) for number, through in enumerate(replicas)))
    # One more heartbeat each, an hour later, moves on whatever was being filled.
    for host in hosts:
        await send(database, host, sample(1), after(7_200))
        expected = {bucket: statistics_of(said) for bucket, said in sent[host].items()}
        assert await finished(database, host) == expected
    for through in replicas[1:]:
        await through.close()
