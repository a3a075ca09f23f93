"""SQL of source machines."""

import uuid
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.access.scope import named
from app.models import ConfigurationServer, Host, Job, ProcessServer, SourceMachine
from app.vocabulary import OPEN_JOB_STATES, JobType

_SITE_HOST = aliased(Host)
"""The configuration server's. Made once: an alias of so many columns takes milliseconds."""

_READ = select(SourceMachine, ProcessServer.name.label("process_server")).join(
    ProcessServer, SourceMachine.process_server_id == ProcessServer.id
)


class Totals(NamedTuple):
    """Source machines and their churn in bytes per day."""

    machines: int
    churn: int


async def configuration_server(session: AsyncSession, vault_id: uuid.UUID, ref: str) -> ConfigurationServer | None:
    """A configuration server by name or id."""
    statement = select(ConfigurationServer).where(
        ConfigurationServer.vault_id == vault_id, named(ConfigurationServer.id, ConfigurationServer.name, ref)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def read(session: AsyncSession, server_id: uuid.UUID, ref: str) -> Any:
    """A machine by name or id and its process server's name; None when there is none."""
    statement = _READ.where(
        SourceMachine.configuration_server_id == server_id, named(SourceMachine.id, SourceMachine.name, ref)
    )
    return (await session.execute(statement)).one_or_none()


async def process_server(session: AsyncSession, server_id: uuid.UUID, ref: str) -> ProcessServer | None:
    """A process server of the configuration server by name or id."""
    statement = select(ProcessServer).where(
        ProcessServer.configuration_server_id == server_id, named(ProcessServer.id, ProcessServer.name, ref)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def lock_process_servers(session: AsyncSession, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, ProcessServer]:
    """Process servers by id, fresh and locked by rising id."""
    statement = (
        select(ProcessServer)
        .where(ProcessServer.id.in_(ids))
        .order_by(ProcessServer.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return {server.id: server for server in (await session.execute(statement)).scalars()}


async def lock_hosts(session: AsyncSession, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Host]:
    """Hosts by id, fresh and locked by rising id as heartbeats lock them."""
    statement = (
        select(Host)
        .where(Host.id.in_(ids))
        .order_by(Host.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return {host.id: host for host in (await session.execute(statement)).scalars()}


def _facts(*columns: Any) -> Any:
    """What decides whether a process server takes machines: it, its host, its site's version, whether it leaves."""
    leave = exists().where(
        Job.resource_id == ProcessServer.id,
        Job.type == JobType.DECOMMISSION.value,
        Job.state.in_([state.value for state in OPEN_JOB_STATES]),
    )
    return (
        select(
            ProcessServer,
            Host,
            _SITE_HOST.agent_version.label("configuration_server_version"),
            leave.label("is_leaving"),
            *columns,
        )
        .select_from(ProcessServer)
        .join(Host, ProcessServer.host_row_id == Host.id)
        .join(ConfigurationServer, ProcessServer.configuration_server_id == ConfigurationServer.id)
        .join(_SITE_HOST, ConfigurationServer.host_row_id == _SITE_HOST.id)
    )


async def target(session: AsyncSession, process_server_id: uuid.UUID) -> Any:
    """What decides whether a process server takes machines."""
    return (await session.execute(_facts().where(ProcessServer.id == process_server_id))).one()


async def targets(session: AsyncSession, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Any]:
    """The same of several process servers, by id."""
    rows = await session.execute(_facts().where(ProcessServer.id.in_(ids)))
    return {row.ProcessServer.id: row for row in rows}


async def carriers(session: AsyncSession, server_id: uuid.UUID) -> Sequence[Any]:
    """The same of each process server of a configuration server, and its `machines` and `churn`, by name."""
    loads = (
        select(
            SourceMachine.process_server_id,
            func.count().label("machines"),
            func.sum(SourceMachine.churn_bytes_per_day).label("churn"),
        )
        .where(SourceMachine.configuration_server_id == server_id)
        .group_by(SourceMachine.process_server_id)
        .subquery()
    )
    statement = (
        _facts(
            func.coalesce(loads.c.machines, 0).label("machines"),
            func.coalesce(loads.c.churn, 0).label("churn"),
        )
        .outerjoin(loads, loads.c.process_server_id == ProcessServer.id)
        .where(ProcessServer.configuration_server_id == server_id)
        .order_by(ProcessServer.name)
    )
    return (await session.execute(statement)).all()


async def totals(session: AsyncSession, process_server_id: uuid.UUID) -> Totals:
    """What a process server carries."""
    statement = select(func.count(), func.coalesce(func.sum(SourceMachine.churn_bytes_per_day), 0)).where(
        SourceMachine.process_server_id == process_server_id
    )
    row = (await session.execute(statement)).one()
    return Totals(int(row[0]), int(row[1]))


async def totals_of(session: AsyncSession, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Totals]:
    """What each of these process servers carries, where it carries anything."""
    statement = (
        select(SourceMachine.process_server_id, func.count(), func.sum(SourceMachine.churn_bytes_per_day))
        .where(SourceMachine.process_server_id.in_(ids))
        .group_by(SourceMachine.process_server_id)
    )
    return {row[0]: Totals(int(row[1]), int(row[2])) for row in await session.execute(statement)}


async def lock_all_of(session: AsyncSession, process_server_id: uuid.UUID) -> Sequence[SourceMachine]:
    """The machines of a process server, locked by rising id."""
    statement = (
        select(SourceMachine)
        .where(SourceMachine.process_server_id == process_server_id)
        .order_by(SourceMachine.id)
        .with_for_update(key_share=True)
    )
    return (await session.execute(statement)).scalars().all()
