"""SQL of purge and readmission."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.scope import named
from app.jobs.queries import is_open_work
from app.models import (
    ConfigurationServer,
    Host,
    IssuedCredential,
    Job,
    ProcessServer,
    SourceMachine,
    Tombstone,
)
from app.vocabulary import ConnectionState, JobState, JobType, ResourceKind, ServerKind


class BulkFilter(NamedTuple):
    """Which disconnected process servers of a vault are meant."""

    vault_id: uuid.UUID
    configuration_server: str | None
    kind: str | None
    q: str | None
    silent_before: datetime


class Site(NamedTuple):
    """What a configuration server carries: machines, churn in bytes per day, process servers beside the inbuilt one."""

    machines: int
    churn_bytes: int
    servers: int


async def lock_configuration_servers(session: AsyncSession, ids: Sequence[uuid.UUID]) -> None:
    """Keep registrations and moves of these sites waiting until commit."""
    statement = (
        select(ConfigurationServer.id)
        .where(ConfigurationServer.id.in_(ids))
        .order_by(ConfigurationServer.id)
        .with_for_update(key_share=True)
    )
    await session.execute(statement)


async def lock_process_servers(session: AsyncSession, ids: Sequence[uuid.UUID]) -> list[ProcessServer]:
    """Process servers that still exist, locked and fresh, by rising id."""
    statement = (
        select(ProcessServer)
        .where(ProcessServer.id.in_(ids))
        .order_by(ProcessServer.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return list((await session.execute(statement)).scalars())


async def lock_hosts(session: AsyncSession, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Host]:
    """Hosts by id, locked and fresh, by rising id as heartbeats lock them."""
    statement = (
        select(Host)
        .where(Host.id.in_(ids))
        .order_by(Host.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return {host.id: host for host in (await session.execute(statement)).scalars()}


async def hosts_of(session: AsyncSession, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Host]:
    """Hosts by id, for looking only."""
    return {host.id: host for host in (await session.execute(select(Host).where(Host.id.in_(ids)))).scalars()}


async def machine_counts(session: AsyncSession, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Source machines of each process server."""
    rows = await session.execute(
        select(SourceMachine.process_server_id, func.count())
        .where(SourceMachine.process_server_id.in_(ids))
        .group_by(SourceMachine.process_server_id)
    )
    return {row[0]: row[1] for row in rows}


async def open_job_counts(session: AsyncSession, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Jobs on each process server that have not ended and keep it busy."""
    rows = await session.execute(
        select(Job.resource_id, func.count()).where(Job.resource_id.in_(ids), is_open_work()).group_by(Job.resource_id)
    )
    return {row[0]: row[1] for row in rows}


async def sites(session: AsyncSession, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Site]:
    """What each configuration server carries."""
    loads = await session.execute(
        select(SourceMachine.configuration_server_id, func.count(), func.sum(SourceMachine.churn_bytes_per_day))
        .where(SourceMachine.configuration_server_id.in_(ids))
        .group_by(SourceMachine.configuration_server_id)
    )
    servers = await session.execute(
        select(ProcessServer.configuration_server_id, func.count())
        .where(ProcessServer.configuration_server_id.in_(ids), ProcessServer.kind != ServerKind.INBUILT.value)
        .group_by(ProcessServer.configuration_server_id)
    )
    counted = {row[0]: row[1] for row in servers}
    load = {row[0]: (int(row[1]), int(row[2] or 0)) for row in loads}
    return {key: Site(*load.get(key, (0, 0)), counted.get(key, 0)) for key in ids}


async def machines_of(session: AsyncSession, process_server_id: uuid.UUID) -> Sequence[SourceMachine]:
    """The source machines of a process server, by name."""
    statement = (
        select(SourceMachine).where(SourceMachine.process_server_id == process_server_id).order_by(SourceMachine.name)
    )
    return (await session.execute(statement)).scalars().all()


async def delete_servers(
    session: AsyncSession, process_server_ids: Sequence[uuid.UUID], host_row_ids: Sequence[uuid.UUID]
) -> None:
    """Delete process servers and their hosts with all credentials."""
    await session.execute(delete(ProcessServer).where(ProcessServer.id.in_(process_server_ids)))
    await session.execute(delete(IssuedCredential).where(IssuedCredential.host_row_id.in_(host_row_ids)))
    await session.execute(delete(Host).where(Host.id.in_(host_row_ids)))


async def tombstone(
    session: AsyncSession, vault_id: uuid.UUID, server_ref: str | None, ref: str, *, for_update: bool = False
) -> Tombstone | None:
    """The latest tombstone of a process server by name or id, under one configuration server or in the vault."""
    statement = (
        select(Tombstone)
        .where(
            Tombstone.vault_id == vault_id,
            Tombstone.resource_kind == ResourceKind.PROCESS_SERVER.value,
            named(Tombstone.resource_id, Tombstone.name, ref),
        )
        .order_by(Tombstone.id.desc())
        .limit(1)
    )
    if server_ref is not None:
        statement = statement.join(
            ConfigurationServer, ConfigurationServer.id == Tombstone.configuration_server_id
        ).where(named(ConfigurationServer.id, ConfigurationServer.name, server_ref))
    if for_update:
        statement = statement.with_for_update(key_share=True, of=Tombstone)
    return (await session.execute(statement)).scalar_one_or_none()


async def bulk_candidates(
    session: AsyncSession, wanted: BulkFilter, after: uuid.UUID | None, limit: int
) -> Sequence[ProcessServer]:
    """Disconnected process servers that a filter means, by rising id."""
    statement = (
        select(ProcessServer)
        .join(Host, ProcessServer.host_row_id == Host.id)
        .where(*_bulk_conditions(wanted))
        .order_by(ProcessServer.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(ProcessServer.id > after)
    return (await session.execute(statement)).scalars().all()


def _bulk_conditions(wanted: BulkFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        ProcessServer.vault_id == wanted.vault_id,
        ProcessServer.kind != ServerKind.INBUILT.value,
        Host.connection_state == ConnectionState.DISCONNECTED.value,
        func.coalesce(Host.last_heartbeat_at, Host.registered_at) <= wanted.silent_before,
    ]
    if wanted.kind is not None:
        conditions.append(ProcessServer.kind == wanted.kind)
    if wanted.configuration_server is not None:
        server = select(ConfigurationServer.id).where(
            ConfigurationServer.vault_id == wanted.vault_id,
            named(ConfigurationServer.id, ConfigurationServer.name, wanted.configuration_server),
        )
        conditions.append(ProcessServer.configuration_server_id.in_(server))
    if wanted.q:
        conditions.append(
            or_(
                ProcessServer.name.icontains(wanted.q, autoescape=True),
                Host.fqdn.icontains(wanted.q, autoescape=True),
            )
        )
    return conditions


async def claim_bulk_job(session: AsyncSession) -> Job | None:
    """The oldest bulk purge that has not ended; one that another replica works on is passed over."""
    statement = (
        select(Job)
        .where(
            Job.ended_at.is_(None),
            Job.type == JobType.PURGE.value,
            Job.state.in_([JobState.QUEUED.value, JobState.IN_PROGRESS.value]),
        )
        .order_by(Job.id)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return (await session.execute(statement)).scalar_one_or_none()
