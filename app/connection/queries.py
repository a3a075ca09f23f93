"""SQL of connection state."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.brakes.holding import Silent
from app.connection.rules import Gap, bucket_of
from app.events.service import Resource
from app.health.rules import HEALTH_WHEN_SILENT
from app.models import ConfigurationServer, Host, MonitorWatermark, Outage, ProcessServer
from app.vocabulary import ConnectionState, ResourceKind

WATERMARK_ID = 1


class Affected(NamedTuple):
    """A server whose host changed."""

    host_row_id: uuid.UUID
    vault_id: uuid.UUID
    resource: Resource


async def lock_watermark(session: AsyncSession, nothing_observed: datetime) -> MonitorWatermark:
    """How far silence was observed, locked: of two monitors that both think they lead, one waits.

    Before the first look of all, that is `nothing_observed`.
    """
    dialect = session.get_bind().dialect.name
    insert = sqlite.insert(MonitorWatermark) if dialect == "sqlite" else postgresql.insert(MonitorWatermark)
    statement = select(MonitorWatermark).where(MonitorWatermark.id == WATERMARK_ID).with_for_update(key_share=True)
    found = (await session.execute(statement)).scalar_one_or_none()
    if found is None:
        # Two first looks at once: one inserts, the other waits for it and then reads what it left.
        first = insert.values(id=WATERMARK_ID, observed_until=nothing_observed).on_conflict_do_nothing()
        await session.execute(first)
        found = (await session.execute(statement)).scalar_one()
    return found


async def observed_until(session: AsyncSession) -> datetime | None:
    """How far silence was observed."""
    return (
        await session.execute(select(MonitorWatermark.observed_until).where(MonitorWatermark.id == WATERMARK_ID))
    ).scalar_one_or_none()


async def gaps(session: AsyncSession) -> list[Gap]:
    """Every outage that is still remembered."""
    rows = await session.execute(select(Outage.started_at, Outage.ended_at))
    return [Gap(row.started_at, row.ended_at) for row in rows]


async def forget_gaps_before(session: AsyncSession, moment: datetime) -> None:
    """Outages that ended before the earliest moment that matters are of no use."""
    await session.execute(delete(Outage).where(Outage.ended_at < moment))


async def bring_back_from_future(session: AsyncSession, now: datetime) -> int:
    """After the clock was set back, no heartbeat and no outage may be newer than now. Returns how many hosts were.

    An outage left in the future would hide the silence of everybody once its time comes.
    """
    await session.execute(delete(Outage).where(Outage.started_at >= now))
    await session.execute(update(Outage).where(Outage.ended_at > now).values(ended_at=now))
    result: Any = await session.execute(
        update(Host)
        .where(Host.last_heartbeat_at > now)
        # Without a quiet range the next heartbeat is judged in full: what it holds may have begun in the future too.
        .values(
            last_heartbeat_at=now,
            last_heartbeat_bucket=bucket_of(now),
            connection_changed_at=case((Host.connection_changed_at > now, now), else_=Host.connection_changed_at),
            quiet_cpu_low=None,
        )
    )
    return int(result.rowcount)


async def lock_silent(session: AsyncSession, silent_since: datetime, limit: int) -> list[Silent]:
    """Up to `limit` connected hosts that are silent, by rising id, locked.

    One whose heartbeat is being written at this moment is passed over: it is not silent.
    """
    statement = (
        select(Host.id, Host.vault_id, ProcessServer.configuration_server_id)
        .outerjoin(ProcessServer, ProcessServer.host_row_id == Host.id)
        .where(
            Host.connection_state == ConnectionState.CONNECTED.value,
            Host.last_heartbeat_bucket <= bucket_of(silent_since),
            Host.last_heartbeat_at <= silent_since,
        )
        .order_by(Host.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True, of=Host)
    )
    return [Silent(*row) for row in await session.execute(statement)]


async def mark(
    session: AsyncSession,
    host_row_ids: Sequence[uuid.UUID],
    was: ConnectionState,
    becomes: ConnectionState,
    now: datetime,
    *,
    silent_since: datetime | None = None,
    brake_id: uuid.UUID | None = None,
) -> Sequence[Any]:
    """Give silent hosts another connection state. Returns id and last heartbeat of each that has it now.

    The state they have, and that they are silent where that is not settled yet, are checked again by the UPDATE: a
    heartbeat that commits in between wins.
    """
    values: dict[str, Any] = {
        "connection_state": becomes.value,
        "connection_changed_at": now,
        "health": HEALTH_WHEN_SILENT[becomes].value,
        "alert_due_at": None,
    }
    if brake_id is not None:
        values["brake_id"] = brake_id
    conditions = [Host.id.in_(host_row_ids), Host.connection_state == was.value]
    if silent_since is not None:
        conditions.append(Host.last_heartbeat_at <= silent_since)
    statement = (
        update(Host)
        .where(*conditions)
        .values(**values)
        .returning(Host.id, Host.last_heartbeat_at)
        .execution_options(synchronize_session=False)
    )
    return (await session.execute(statement)).all()


async def servers_on(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> list[Affected]:
    """The servers that run on hosts, configuration servers first; an inbuilt process server shares its host."""
    found: list[Affected] = []
    for kind, model in (
        (ResourceKind.CONFIGURATION_SERVER, ConfigurationServer),
        (ResourceKind.PROCESS_SERVER, ProcessServer),
    ):
        rows = await session.execute(
            select(model.host_row_id, model.vault_id, model.id, model.name)
            .where(model.host_row_id.in_(host_row_ids))
            .order_by(model.id)
        )
        found.extend(Affected(row.host_row_id, row.vault_id, Resource(kind, row.id, row.name)) for row in rows)
    return found


async def count_hosts(session: AsyncSession) -> int:
    """How many agents there are."""
    return int((await session.execute(select(func.count()).select_from(Host))).scalar_one())
