"""The hot path and the rules read the same of a heartbeat, to the last bit, on both databases."""

import math
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.core.db import Database
from app.health.queries import QUIET_COLUMNS
from app.health.readings import (
    NEVER,
    UNKNOWN,
    Reading,
    Readings,
    cpu_percentage,
    upload_minutes,
    used_percentage,
)
from app.heartbeats.beats import Beat
from app.heartbeats.writers import Writer, writers_for
from app.models import Host
from tests.support.health import Agent, agents
from tests.support.heartbeats import beat_for
from tests.support.muster import Site
from tests.support.rows import host_row, host_row_id

TIMEOUT = timedelta(seconds=900)
SAMPLES = 150
EDGES = (None, 0, 1, 3, 60, 2**31, 2**53 - 1, 2**53 + 1, 2**60 - 1, 2**60)


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Writer]:
    """The hot path alone: nothing that it leaves over is settled."""
    opened = writers_for(database, TIMEOUT)
    yield opened[0]
    for one in opened:
        await one.close()


def numbers(chooser: random.Random) -> dict[str, Any]:
    """Telemetry, likely and unlikely; available may be above total."""

    def count() -> int | None:
        return chooser.choice(EDGES) if chooser.random() < 0.4 else chooser.randrange(2**60)

    return {
        "cpu_percentage": chooser.choice([None, 0.0, 0.1, 80.0, 100.0, chooser.random() * 100]),
        "total_memory_bytes": count(),
        "available_memory_bytes": count(),
        "total_space_bytes": count(),
        "available_space_bytes": count(),
        "throughput_bytes": count(),
        "pending_bytes": count(),
    }


def readings_of(beat: Beat, skew: float | None) -> Readings:
    """What the rules read of a heartbeat."""
    return Readings(
        cpu=cpu_percentage(beat.cpu_percentage),
        memory=used_percentage(beat.total_memory_bytes, beat.available_memory_bytes),
        space=used_percentage(beat.total_space_bytes, beat.available_space_bytes),
        upload=upload_minutes(beat.pending_bytes, beat.throughput_bytes),
        skew=UNKNOWN if skew is None else skew,
    )


async def set_ranges(database: Database, agent: Agent, ranges: dict[str, tuple[float, float]]) -> None:
    """Put quiet ranges into a host's row."""
    values = {
        f"quiet_{reading}_{end}": ranges[reading][at] for reading in ranges for at, end in enumerate(("low", "high"))
    }
    async with database.write() as session:
        await session.execute(update(Host).where(Host.id == host_row_id(agent.registered)).values(values))


def exactly(value: float) -> tuple[float, float]:
    """The range of one number alone."""
    return math.nextafter(value, -math.inf), value


async def test_sql_and_rules_read_the_same_doubles(site: Site, database: Database, writer: Writer) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    chooser = random.Random(11)
    sequence = 10
    now = site.clock.now()
    for _ in range(SAMPLES):
        sequence += 1
        agent_time = chooser.choice([None, now.timestamp() - chooser.random() * 1e4])
        beat = beat_for(agent.registered, sequence, agent_time=agent_time, **numbers(chooser))
        readings = readings_of(beat, beat.clock_skew_seconds(now)).values()
        await set_ranges(database, agent, {name: exactly(value) for name, value in readings.items()})
        assert await writer.write([beat], now) == [1], (beat, readings)
        name = chooser.choice(list(Reading))
        beyond = math.nextafter(readings[name], -math.inf)
        for wrong in ((readings[name], math.inf), (-math.inf, beyond)):
            await set_ranges(database, agent, {name: wrong})
            sequence += 1
            assert await writer.write([beat._replace(sequence=sequence)], now) == [None], (name, wrong)


async def test_without_ranges_every_heartbeat_is_judged(site: Site, database: Database, writer: Writer) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    beat = beat_for(agent.registered, 10, cpu_percentage=10.0)
    ranges = dict.fromkeys([reading.value for reading in Reading], (-1e300, 1e300))
    for name in QUIET_COLUMNS:
        await set_ranges(database, agent, ranges)
        async with database.write() as session:
            await session.execute(update(Host).values({name: None}))
        assert await writer.write([beat], site.clock.now()) == [None]
    await set_ranges(database, agent, ranges)
    assert await writer.write([beat], site.clock.now()) == [1]


async def test_after_a_gap_whoever_has_something_pending_is_judged_and_the_others_are_not(
    site: Site, database: Database, writer: Writer
) -> None:
    found = await agents(site, "ps-1", "ps-2")
    await found["ps-1"].beat(cpu=90.0)
    row = await host_row(database, found["ps-1"].registered)
    assert row.alert_due_at is not None
    ranges = dict.fromkeys([reading.value for reading in Reading], (-1e300, 1e300))
    for agent in found.values():
        await set_ranges(database, agent, ranges)
    site.manual_clock.advance(900)
    now = site.clock.now()
    assert await writer.write([beat_for(found["ps-1"].registered, 10)], now) == [1], "exactly the timeout is no gap"
    site.manual_clock.advance(900.001)
    now = site.clock.now()
    assert await writer.write([beat_for(found["ps-1"].registered, 11)], now) == [None]
    assert await writer.write([beat_for(found["ps-2"].registered, 11)], now) == [1]


async def test_a_judged_heartbeat_is_in_the_ranges_that_it_leaves(site: Site, database: Database) -> None:
    """What was settled once goes through the hot path while nothing changes, or the slow path would be the rule."""
    agent = (await agents(site, "ps-1"))["ps-1"]
    chooser = random.Random(5)
    for _ in range(60):
        load: dict[str, Any] = {
            "cpu": chooser.choice([None, 10.0, 80.0, 90.0, 99.0]),
            "memory": chooser.choice([None, 10.0, 80.0, 90.0, 99.0]),
            "free": chooser.choice([None, 10.0, 22.0, 27.0, 30.0, 90.0]),
            "minutes": chooser.choice([None, 0, 25, 30, 40, 50]),
        }
        skew = chooser.choice([None, 0.0, 250.0, 300.0, 400.0])
        await agent.beat(skew=skew, **load)
        row = await host_row(database, agent.registered)
        upload = upload_minutes(row.pending_bytes, row.throughput_bytes)
        assert upload < NEVER
        values = {
            "cpu": cpu_percentage(row.cpu_percentage),
            "memory": used_percentage(row.total_memory_bytes, row.available_memory_bytes),
            "space": used_percentage(row.total_space_bytes, row.available_space_bytes),
            "upload": upload,
            "skew": UNKNOWN if skew is None else skew,
        }
        for name, value in values.items():
            assert getattr(row, f"quiet_{name}_low") < value <= getattr(row, f"quiet_{name}_high"), name
        site.manual_clock.advance(chooser.choice([30, 600]))
        await site.tick()
