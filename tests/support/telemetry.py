"""Hosts and their telemetry history, put into the database and read from it beside the application."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, insert, select

from app.core.db import Database
from app.core.wire import new_id
from app.models import METRICS, Host, Vault
from app.telemetry import queries
from app.telemetry.queries import BUCKETS, HOSTS
from app.telemetry.rules import Sample

START = datetime(2026, 1, 1, tzinfo=UTC)
Statistics = tuple[int, float, float | None, float | None]
"""Count, sum, least and greatest of one metric."""


async def new_hosts(database: Database, count: int) -> list[uuid.UUID]:
    """Hosts that have never sent a heartbeat. Returns their row ids, rising."""
    async with database.write() as session:
        vault = Vault(name="contoso", friendly_name="contoso", location="x", created_at=START, updated_at=START)
        session.add(vault)
        await session.flush()
        hosts = [
            Host(
                id=new_id(),
                vault_id=vault.id,
                host_id=f"host-{number}",
                instance_id=f"instance-{number}",
                connection_changed_at=START,
                agent_version="9.62.7096.1",
                fqdn=f"host-{number}.corp.example",
                ip_addresses=[],
                os={},
                hardware={},
                registered_at=START,
            )
            for number in range(count)
        ]
        session.add_all(hosts)
        return sorted(host.id for host in hosts)


def _statistics(row: Row[Any]) -> dict[str, Statistics]:
    return {
        metric: tuple(getattr(row, f"{metric}_{part}") for part in ("count", "sum", "min", "max")) for metric in METRICS
    }


async def finished(database: Database, host: uuid.UUID) -> dict[int, dict[str, Statistics]]:
    """The buckets of a host that were moved on."""
    async with database.read() as session:
        rows = await session.execute(select(BUCKETS).where(BUCKETS.c.host_row_id == host).order_by(BUCKETS.c.bucket))
        return {row.bucket: _statistics(row) for row in rows}


async def filling(database: Database, host: uuid.UUID) -> tuple[int, dict[str, Statistics]]:
    """The bucket that a host is filling."""
    async with database.read() as session:
        row = (await session.execute(select(HOSTS).where(HOSTS.c.id == host))).one()
        return row.history_bucket, _statistics(row)


def statistics_of(samples: Iterable[Sample]) -> dict[str, Statistics]:
    """The same by brute force."""
    kept = list(samples)
    found: dict[str, Statistics] = {}
    for metric in METRICS:
        values = [value for sample in kept if (value := getattr(sample, metric)) is not None]
        found[metric] = (len(values), sum(values), min(values, default=None), max(values, default=None))
    return found


async def put(database: Database, host: uuid.UUID, samples: Iterable[tuple[float, Sample]]) -> None:
    """Count samples, each so many seconds after `START`, as heartbeats would."""
    async with database.write() as session:
        for seconds, sample in samples:
            await queries.accumulate(session, [(host, sample)], START + timedelta(seconds=seconds))


async def put_buckets(database: Database, hosts: Iterable[uuid.UUID], buckets: range) -> None:
    """Finished buckets with one value of the CPU each."""
    rows = [
        {"host_row_id": host, "bucket": bucket}
        | {f"cpu_percentage_{part}": value for part, value in (("count", 1), ("sum", 5.0), ("min", 5.0), ("max", 5.0))}
        for host in hosts
        for bucket in buckets
    ]
    async with database.write() as session:
        await session.execute(insert(BUCKETS), rows)
