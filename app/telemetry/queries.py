"""SQL of telemetry history, for both databases: fill a host's bucket, move it on, read, forget.

The bucket that is being filled is in the host's own row (`history_bucket` and the columns of `STATISTICS`), so that a
heartbeat updates one row alone. A host's first heartbeat of another bucket moves the filled one to
`telemetry_buckets` and starts anew; that is called to roll. Only who holds the host's row lock rolls it, therefore no
two transactions ever insert the same bucket.

The first half are pieces of SQL text: the hot path of `app.heartbeats` puts its own statements together from them.
"""

import functools
import operator
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Row,
    Select,
    Table,
    TextClause,
    Uuid,
    bindparam,
    delete,
    func,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.connection.rules import bucket_of
from app.models import METRICS, Host, TelemetryBucket
from app.telemetry.rules import Sample, Window

HOSTS: Table = Host.__table__  # type: ignore[assignment]
BUCKETS: Table = TelemetryBucket.__table__  # type: ignore[assignment]

STATISTICS = tuple(f"{metric}_{part}" for metric in METRICS for part in ("count", "sum", "min", "max"))
"""The columns that `hosts` and `telemetry_buckets` have alike."""

_COUNTED = " + ".join(f"hosts.{metric}_count" for metric in METRICS)


def sample_assignments(row: str, sample: str) -> str:
    """The SET list that counts one sample in a row of `hosts` whose bucket is the present one.

    `row` is the table's name or alias, `sample` what a metric's value is called: `beat.{metric}`. NULL counts nothing.
    """
    assignments = []
    for metric in METRICS:
        value = sample.format(metric=metric)
        assignments += [
            f"{metric}_count = {row}.{metric}_count + CASE WHEN {value} IS NULL THEN 0 ELSE 1 END",
            f"{metric}_sum = {row}.{metric}_sum + COALESCE({value}, 0)",
            f"{metric}_min = {_least(f'{row}.{metric}_min', value)}",
            f"{metric}_max = {_greatest(f'{row}.{metric}_max', value)}",
        ]
    return ", ".join(assignments)


def merge_assignments(row: str, other: str) -> str:
    """The SET list that adds the statistics of `other` to those of `row`."""
    assignments = []
    for metric in METRICS:
        assignments += [
            f"{metric}_count = {row}.{metric}_count + {other}.{metric}_count",
            f"{metric}_sum = {row}.{metric}_sum + {other}.{metric}_sum",
            f"{metric}_min = {_least(f'{row}.{metric}_min', f'{other}.{metric}_min')}",
            f"{metric}_max = {_greatest(f'{row}.{metric}_max', f'{other}.{metric}_max')}",
        ]
    return ", ".join(assignments)


def _least(left: str, right: str) -> str:
    # NULL is no value. LEAST (PostgreSQL) and min (SQLite) differ in that; this means the same in both.
    return f"CASE WHEN {left} IS NULL OR {right} < {left} THEN {right} ELSE {left} END"


def _greatest(left: str, right: str) -> str:
    return f"CASE WHEN {left} IS NULL OR {right} > {left} THEN {right} ELSE {left} END"


def move_filled(chosen: str, bucket: str) -> str:
    """The INSERT that moves the filled bucket of every chosen host whose present one is another.

    `chosen` is a condition on `hosts`, `bucket` the present bucket's placeholder. Nothing is moved where nothing was
    counted. After a correction of the clock a bucket may come back: what is there already is added to.
    """
    columns = ", ".join(STATISTICS)
    return (
        f"INSERT INTO telemetry_buckets (host_row_id, bucket, {columns}) "  # noqa: S608 - names of columns alone
        f"SELECT hosts.id, hosts.history_bucket, {', '.join(f'hosts.{column}' for column in STATISTICS)} FROM hosts "
        f"WHERE {chosen} AND hosts.history_bucket <> {bucket} AND {_COUNTED} > 0 "
        f"ON CONFLICT (host_row_id, bucket) DO UPDATE SET {merge_assignments('telemetry_buckets', 'excluded')}"
    )


def start_anew(chosen: str, bucket: str) -> str:
    """The UPDATE that begins the present bucket in every chosen host, after `move_filled`."""
    return (
        f"UPDATE hosts SET history_bucket = {bucket}, {fresh_assignments()} "  # noqa: S608 - names of columns alone
        f"WHERE {chosen} AND hosts.history_bucket <> {bucket}"
    )


def fresh_assignments() -> str:
    """The SET list of a bucket in which nothing is counted yet."""
    return ", ".join(
        f"{metric}_count = 0, {metric}_sum = 0, {metric}_min = NULL, {metric}_max = NULL" for metric in METRICS
    )


def _of_these_hosts(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("ids", expanding=True, type_=Uuid()))


_CHOSEN = "hosts.id IN :ids"
_MOVE_FILLED = _of_these_hosts(move_filled(_CHOSEN, ":bucket"))
_START_ANEW = _of_these_hosts(start_anew(_CHOSEN, ":bucket"))
# The cast tells PostgreSQL the type of a value that may be NULL.
_COUNT_SAMPLE = text(
    f"UPDATE hosts SET {sample_assignments('hosts', 'CAST(:{metric} AS DOUBLE PRECISION)')} "  # noqa: S608
    "WHERE hosts.id = :id"
).bindparams(bindparam("id", type_=Uuid()))


# One by one, in one round trip: of all ways to delete many keys the one that both databases do by the primary key.
_DELETE_BUCKET = delete(BUCKETS).where(
    BUCKETS.c.host_row_id == bindparam("host"), BUCKETS.c.bucket == bindparam("number")
)


async def roll(session: AsyncSession, host_row_ids: Collection[uuid.UUID], bucket: int) -> None:
    """Make `bucket` the one that hosts fill, moving on what they filled until now; those that fill it stay as they are.

    Locks them all, by rising id.
    """
    statement = (
        select(HOSTS.c.id, HOSTS.c.history_bucket)
        .where(HOSTS.c.id.in_(host_row_ids))
        .order_by(HOSTS.c.id)
        .with_for_update(key_share=True)
    )
    # Whoever waited for the lock sees the row as it is now: one that another has rolled meanwhile is not behind.
    behind = [row.id for row in await session.execute(statement) if row.history_bucket != bucket]
    if behind:
        await session.execute(_MOVE_FILLED, {"ids": behind, "bucket": bucket})
        await session.execute(_START_ANEW, {"ids": behind, "bucket": bucket})


async def accumulate(session: AsyncSession, samples: Sequence[tuple[uuid.UUID, Sample]], now: datetime) -> None:
    """Count the samples of hosts, each with the host it is of, in the bucket of `now`. A host may occur repeatedly."""
    if not samples:
        return
    await roll(session, {host_row_id for host_row_id, _ in samples}, bucket_of(now))
    in_order = sorted(samples, key=lambda entry: entry[0])
    await session.execute(_COUNT_SAMPLE, [{"id": host_row_id, **sample._asdict()} for host_row_id, sample in in_order])


def steps_of(host_row_id: uuid.UUID, window: Window) -> Select[Any]:
    """The statement that reads a host's history: one row a step in which something was counted, in order.

    Each has the `step`'s number and `STATISTICS`. The bucket that is being filled counts too, and one that came back
    after a correction of the clock is added to what was moved on of it. One statement: what is rolled meanwhile is
    neither missed nor counted twice.
    """
    per_step = window.buckets_per_step
    moved_on = select(
        (BUCKETS.c.bucket // per_step).label("step"), *(BUCKETS.c[column] for column in STATISTICS)
    ).where(
        BUCKETS.c.host_row_id == host_row_id,
        BUCKETS.c.bucket.between(window.first_bucket, window.last_bucket),
    )
    being_filled = select(
        (HOSTS.c.history_bucket // per_step).label("step"), *(HOSTS.c[column] for column in STATISTICS)
    ).where(
        HOSTS.c.id == host_row_id,
        HOSTS.c.history_bucket.between(window.first_bucket, window.last_bucket),
        functools.reduce(operator.add, (HOSTS.c[f"{metric}_count"] for metric in METRICS)) > 0,
    )
    buckets = union_all(moved_on, being_filled).subquery("buckets")
    merged = []
    for metric in METRICS:
        count, total, least, greatest = (buckets.c[f"{metric}_{part}"] for part in ("count", "sum", "min", "max"))
        merged += [func.sum(count), func.sum(total), func.min(least), func.max(greatest)]
    return (
        select(buckets.c.step, *(value.label(name) for name, value in zip(STATISTICS, merged, strict=True)))
        .group_by(buckets.c.step)
        .order_by(buckets.c.step)
    )


async def steps(session: AsyncSession, host_row_id: uuid.UUID, window: Window) -> Sequence[Row[Any]]:
    """A host's history: the rows of `steps_of`."""
    found: Sequence[Row[Any]] = (await session.execute(steps_of(host_row_id, window))).all()
    return found


async def hand_on(session: AsyncSession, host_row_id: uuid.UUID, successor: uuid.UUID) -> None:
    """Give a host's whole history to the one that takes its place and has none. The caller has locked the host."""
    # No bucket has this number, so that the one being filled is moved on whichever it is.
    await roll(session, [host_row_id], -1)
    await session.execute(update(BUCKETS).where(BUCKETS.c.host_row_id == host_row_id).values(host_row_id=successor))


async def delete_before(session: AsyncSession, bucket: int, limit: int) -> int:
    """Delete up to `limit` buckets that are older than `bucket`, the oldest first. Returns how many.

    Replicas that do it at once pass over each other's, and nobody waits for them.
    """
    expired = (
        select(BUCKETS.c.host_row_id, BUCKETS.c.bucket)
        .where(BUCKETS.c.bucket < bucket)
        .order_by(BUCKETS.c.bucket)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    doomed = [{"host": row.host_row_id, "number": row.bucket} for row in await session.execute(expired)]
    if doomed:
        await session.execute(_DELETE_BUCKET, doomed)
    return len(doomed)
