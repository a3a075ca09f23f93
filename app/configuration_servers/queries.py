"""SQL of configuration servers."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.scope import named
from app.core.pagination import PageRequest, choose_order, fetch_page
from app.health.queries import worst
from app.models import Alert, ConfigurationServer, Host, Job, JobWait, ProcessServer, SourceMachine
from app.vocabulary import JobState, JobType, ServerKind

ORDERS: dict[str, Sequence[Any]] = {
    "name": (ConfigurationServer.name,),
    "createdAt": (ConfigurationServer.id,),
}

_PROCESS_SERVERS = (
    select(func.count())
    .select_from(ProcessServer)
    .where(ProcessServer.configuration_server_id == ConfigurationServer.id)
    .scalar_subquery()
    .label("process_server_count")
)
_MACHINES = (
    select(func.count())
    .select_from(SourceMachine)
    .where(SourceMachine.configuration_server_id == ConfigurationServer.id)
    .scalar_subquery()
    .label("source_machine_count")
)
_READ = select(ConfigurationServer, Host, _PROCESS_SERVERS, _MACHINES).join(
    Host, ConfigurationServer.host_row_id == Host.id
)


async def read(session: AsyncSession, vault_id: uuid.UUID, ref: str) -> Any:
    """A configuration server by name or id, its host and counts; None when there is none."""
    statement = _READ.where(
        ConfigurationServer.vault_id == vault_id, named(ConfigurationServer.id, ConfigurationServer.name, ref)
    )
    return (await session.execute(statement)).one_or_none()


async def read_with_health(session: AsyncSession, vault_id: uuid.UUID, ref: str, now: datetime) -> Any:
    """As `read`, and the health of its site."""
    statement = _READ.add_columns(_health(now).label("site_health")).where(
        ConfigurationServer.vault_id == vault_id, named(ConfigurationServer.id, ConfigurationServer.name, ref)
    )
    return (await session.execute(statement)).one_or_none()


def _health(now: datetime) -> ColumnElement[str]:
    """The worst of what fires on a configuration server and its process servers."""
    return worst(Alert.configuration_server_id == ConfigurationServer.id, ConfigurationServer, now)


async def lock(session: AsyncSession, vault_id: uuid.UUID, ref: str) -> ConfigurationServer | None:
    """A configuration server by name or id, locked."""
    statement = (
        select(ConfigurationServer)
        .where(
            ConfigurationServer.vault_id == vault_id,
            named(ConfigurationServer.id, ConfigurationServer.name, ref),
        )
        .with_for_update(key_share=True)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def list_servers(
    session: AsyncSession,
    vault_id: uuid.UUID,
    paging: PageRequest,
    *,
    order_by: str,
    connection_state: str | None,
    health: str | None,
    versions: Sequence[str] | None,
    q: str | None,
    now: datetime,
) -> tuple[Sequence[Any], str | None]:
    """One page of a vault's configuration servers, each with the health of its site."""
    statement = _READ.add_columns(_health(now).label("site_health")).where(ConfigurationServer.vault_id == vault_id)
    if connection_state is not None:
        statement = statement.where(Host.connection_state == connection_state)
    if health is not None:
        statement = statement.where(_health(now) == health)
    if versions is not None:
        statement = statement.where(Host.agent_version.in_(versions))
    if q:
        statement = statement.where(
            or_(
                ConfigurationServer.name.icontains(q, autoescape=True),
                ConfigurationServer.friendly_name.icontains(q, autoescape=True),
                Host.fqdn.icontains(q, autoescape=True),
            )
        )
    return await fetch_page(session, statement, choose_order(ORDERS, order_by, within=vault_id), paging)


async def of_host(session: AsyncSession, host_row_id: uuid.UUID) -> ConfigurationServer | None:
    """The configuration server that runs on a host."""
    statement = select(ConfigurationServer).where(ConfigurationServer.host_row_id == host_row_id)
    return (await session.execute(statement)).scalar_one_or_none()


async def is_known(session: AsyncSession, vault_id: uuid.UUID, host_id: str) -> bool:
    """Whether a machine is registered in the vault."""
    statement = select(Host.id).where(Host.vault_id == vault_id, Host.host_id == host_id)
    return (await session.execute(statement)).first() is not None


async def row_ids(session: AsyncSession, vault_id: uuid.UUID, host_id: str) -> Sequence[uuid.UUID]:
    """The vault's machine with this host id, not locked; empty when there is none."""
    statement = select(Host.id).where(Host.vault_id == vault_id, Host.host_id == host_id)
    return (await session.execute(statement)).scalars().all()


async def name_owner(session: AsyncSession, vault_id: uuid.UUID, name: str) -> Any:
    """Host id and address of the configuration server with this name; None when the name is free."""
    statement = (
        select(Host.host_id, Host.fqdn)
        .join(ConfigurationServer, ConfigurationServer.host_row_id == Host.id)
        .where(ConfigurationServer.vault_id == vault_id, ConfigurationServer.name == name)
    )
    return (await session.execute(statement)).one_or_none()


async def set_inbuilt_port(session: AsyncSession, server_id: uuid.UUID, port: int) -> None:
    """The data transfer port of a configuration server's inbuilt process server."""
    await session.execute(
        update(ProcessServer)
        .where(ProcessServer.configuration_server_id == server_id, ProcessServer.kind == ServerKind.INBUILT.value)
        .values(data_transfer_port=port)
    )


async def dependants(session: AsyncSession, server_id: uuid.UUID) -> tuple[int, int]:
    """Source machines, and process servers other than the inbuilt one, that depend on a configuration server."""
    machines = select(func.count()).where(SourceMachine.configuration_server_id == server_id)
    servers = select(func.count()).where(
        ProcessServer.configuration_server_id == server_id, ProcessServer.kind != ServerKind.INBUILT.value
    )
    return int((await session.execute(machines)).scalar_one()), int((await session.execute(servers)).scalar_one())


async def process_servers(session: AsyncSession, server_id: uuid.UUID) -> Sequence[ProcessServer]:
    """Every process server of a configuration server, locked, by rising id."""
    statement = (
        select(ProcessServer)
        .where(ProcessServer.configuration_server_id == server_id)
        .order_by(ProcessServer.id)
        .with_for_update(key_share=True)
    )
    return (await session.execute(statement)).scalars().all()


async def lock_hosts(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> Sequence[Host]:
    """Hosts, locked by rising id as heartbeats lock them."""
    statement = select(Host).where(Host.id.in_(host_row_ids)).order_by(Host.id).with_for_update(key_share=True)
    return (await session.execute(statement)).scalars().all()


async def machines_of(session: AsyncSession, server_id: uuid.UUID) -> Sequence[SourceMachine]:
    """The source machines under a configuration server."""
    statement = select(SourceMachine).where(SourceMachine.configuration_server_id == server_id)
    return (await session.execute(statement)).scalars().all()


async def lock_by_id(session: AsyncSession, server_id: uuid.UUID) -> ConfigurationServer | None:
    """A configuration server, locked and fresh; None when it was removed."""
    statement = (
        select(ConfigurationServer)
        .where(ConfigurationServer.id == server_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def components(session: AsyncSession, server_id: uuid.UUID) -> Sequence[Any]:
    """A configuration server and its process servers but the inbuilt one: kind, name, connection state, version."""
    own = (
        select(
            literal("configuration server").label("kind"),
            ConfigurationServer.name,
            Host.connection_state,
            Host.agent_version,
        )
        .join(Host, ConfigurationServer.host_row_id == Host.id)
        .where(ConfigurationServer.id == server_id)
    )
    others = (
        select(literal("process server").label("kind"), ProcessServer.name, Host.connection_state, Host.agent_version)
        .join(Host, ProcessServer.host_row_id == Host.id)
        .where(ProcessServer.configuration_server_id == server_id, ProcessServer.kind != ServerKind.INBUILT.value)
        .order_by(ProcessServer.name)
    )
    return [*(await session.execute(own)).all(), *(await session.execute(others)).all()]


async def observed_renewals(session: AsyncSession, limit: int) -> Sequence[uuid.UUID]:
    """Renewals of certificates that are taken up and wait for no agent any more, at most `limit`."""
    statement = (
        select(Job.id)
        .where(
            Job.ended_at.is_(None),
            Job.type == JobType.RENEW_CERTIFICATE.value,
            Job.state == JobState.IN_PROGRESS.value,
            ~exists().where(JobWait.job_id == Job.id),
        )
        .order_by(Job.id)
        .limit(limit)
    )
    return (await session.execute(statement)).scalars().all()


async def renewal_of(session: AsyncSession, job_id: uuid.UUID) -> uuid.UUID | None:
    """The configuration server that a job works on."""
    return (await session.execute(select(Job.resource_id).where(Job.id == job_id))).scalar_one_or_none()
