"""SQL of process servers."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, String, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.scope import named
from app.core.pagination import PageRequest, choose_order, fetch_page
from app.models import ConfigurationServer, Host, ProcessServer, SourceMachine, Vault

ORDERS: dict[str, Sequence[Any]] = {
    "name": (ProcessServer.name, ProcessServer.id),
    "createdAt": (ProcessServer.id,),
}

_MACHINES = (
    select(func.count())
    .select_from(SourceMachine)
    .where(SourceMachine.process_server_id == ProcessServer.id)
    .scalar_subquery()
    .label("source_machine_count")
)
_READ = (
    select(
        ProcessServer,
        Host,
        ConfigurationServer.name.label("configuration_server"),
        _MACHINES,
    )
    .join(Host, ProcessServer.host_row_id == Host.id)
    .join(ConfigurationServer, ProcessServer.configuration_server_id == ConfigurationServer.id)
)


class Filters(NamedTuple):
    """What a list of process servers can be narrowed by; None is no filter."""

    configuration_server: str | None = None
    connection_state: str | None = None
    health: str | None = None
    versions: Sequence[str] | None = None
    kind: str | None = None
    q: str | None = None


async def read(session: AsyncSession, vault_id: uuid.UUID, server_ref: str | None, ref: str) -> Sequence[Any]:
    """The process servers that `ref` may mean, under one configuration server or in the whole vault; at most 11."""
    statement = _READ.where(
        ProcessServer.vault_id == vault_id, named(ProcessServer.id, ProcessServer.name, ref)
    ).order_by(ConfigurationServer.name)
    if server_ref is not None:
        statement = statement.where(named(ConfigurationServer.id, ConfigurationServer.name, server_ref))
    return (await session.execute(statement.limit(11))).all()


async def configuration_server_exists(session: AsyncSession, vault_id: uuid.UUID, ref: str) -> bool:
    """Whether the vault has this configuration server."""
    statement = select(ConfigurationServer.id).where(
        ConfigurationServer.vault_id == vault_id, named(ConfigurationServer.id, ConfigurationServer.name, ref)
    )
    return (await session.execute(statement)).first() is not None


async def lock(session: AsyncSession, process_server_id: uuid.UUID) -> ProcessServer | None:
    """A process server, locked and fresh; None when it was removed meanwhile."""
    statement = (
        select(ProcessServer)
        .where(ProcessServer.id == process_server_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def lock_site_of(session: AsyncSession, process_server_id: uuid.UUID) -> None:
    """Lock the configuration server of a process server."""
    site = select(ProcessServer.configuration_server_id).where(ProcessServer.id == process_server_id).scalar_subquery()
    statement = select(ConfigurationServer.id).where(ConfigurationServer.id == site)
    await session.execute(statement.with_for_update(key_share=True))


async def list_servers(
    session: AsyncSession, vault_id: uuid.UUID, paging: PageRequest, *, order_by: str, filters: Filters
) -> tuple[Sequence[Any], str | None]:
    """One page of process servers."""
    statement = _narrowed(_READ.where(ProcessServer.vault_id == vault_id), filters)
    return await fetch_page(session, statement, choose_order(ORDERS, order_by, within=vault_id), paging)


def _narrowed(statement: Select[Any], filters: Filters) -> Select[Any]:
    if filters.configuration_server is not None:
        statement = statement.where(
            named(ConfigurationServer.id, ConfigurationServer.name, filters.configuration_server)
        )
    if filters.connection_state is not None:
        statement = statement.where(Host.connection_state == filters.connection_state)
    if filters.health is not None:
        statement = statement.where(Host.health == filters.health)
    if filters.versions is not None:
        statement = statement.where(Host.agent_version.in_(filters.versions))
    if filters.kind is not None:
        statement = statement.where(ProcessServer.kind == filters.kind)
    if filters.q:
        statement = statement.where(
            or_(
                ProcessServer.name.icontains(filters.q, autoescape=True),
                ProcessServer.friendly_name.icontains(filters.q, autoescape=True),
                Host.fqdn.icontains(filters.q, autoescape=True),
                cast(Host.ip_addresses, String).icontains(filters.q, autoescape=True),
            )
        )
    return statement


async def of_host(session: AsyncSession, host_row_id: uuid.UUID) -> ProcessServer | None:
    """The process server that runs on a host."""
    statement = select(ProcessServer).where(ProcessServer.host_row_id == host_row_id)
    return (await session.execute(statement)).scalar_one_or_none()


async def name_owner(session: AsyncSession, configuration_server_id: uuid.UUID, name: str) -> ProcessServer | None:
    """The process server with this name; None when the name is free."""
    statement = select(ProcessServer).where(
        ProcessServer.configuration_server_id == configuration_server_id, ProcessServer.name == name
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def with_passphrase_tag(session: AsyncSession, tag: str) -> Sequence[Any]:
    """The configuration servers whose passphrase starts with a public tag, with host and vault name."""
    statement = (
        select(ConfigurationServer, Host, Vault.name.label("vault"))
        .join(Host, ConfigurationServer.host_row_id == Host.id)
        .join(Vault, ConfigurationServer.vault_id == Vault.id)
        .where(ConfigurationServer.passphrase_tag == tag)
        .limit(20)
    )
    return (await session.execute(statement)).all()


async def lock_configuration_server(session: AsyncSession, server_id: uuid.UUID) -> Any:
    """A configuration server and its host's present version, the server locked; None when it was deleted."""
    await session.execute(
        select(ConfigurationServer.id).where(ConfigurationServer.id == server_id).with_for_update(key_share=True)
    )
    statement = (
        select(ConfigurationServer, Host.agent_version, Vault.name.label("vault"))
        .join(Host, ConfigurationServer.host_row_id == Host.id)
        .join(Vault, ConfigurationServer.vault_id == Vault.id)
        .where(ConfigurationServer.id == server_id)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).one_or_none()


async def ended_maintenances(session: AsyncSession, now: datetime, limit: int) -> Sequence[uuid.UUID]:
    """Process servers whose maintenance is over and still on record, the longest over first, at most `limit`."""
    statement = (
        select(ProcessServer.id)
        .where(ProcessServer.is_drained, ProcessServer.maintenance_until <= now)
        .order_by(ProcessServer.maintenance_until)
        .limit(limit)
    )
    return (await session.execute(statement)).scalars().all()
