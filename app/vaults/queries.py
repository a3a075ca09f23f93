"""SQL of vaults."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.pagination import PageRequest, choose_order, fetch_page
from app.models import ConfigurationServer, Host, ProcessServer, SourceMachine, Vault

ORDERS: dict[str, Sequence[Any]] = {"name": (Vault.name,), "createdAt": (Vault.id,)}


_SERVERS = (
    select(func.count())
    .select_from(ConfigurationServer)
    .where(ConfigurationServer.vault_id == Vault.id)
    .scalar_subquery()
    .label("configuration_server_count")
)
_PROCESS_SERVERS = (
    select(func.count())
    .select_from(ProcessServer)
    .where(ProcessServer.vault_id == Vault.id)
    .scalar_subquery()
    .label("process_server_count")
)


async def lock(session: AsyncSession, vault_id: uuid.UUID) -> Vault | None:
    """The vault, locked against other registrations and deletion until commit."""
    statement = select(Vault).where(Vault.id == vault_id).with_for_update(key_share=True)
    return (await session.execute(statement)).scalar_one_or_none()


async def read_with_counts(session: AsyncSession, vault_id: uuid.UUID) -> Any:
    """The vault and how many servers it holds."""
    return (await session.execute(select(Vault, _SERVERS, _PROCESS_SERVERS).where(Vault.id == vault_id))).one()


async def list_vaults(
    session: AsyncSession, paging: PageRequest, *, order_by: str, only: uuid.UUID | None, q: str | None
) -> tuple[Sequence[Any], str | None]:
    """One page of vaults: all, or the one in scope."""
    statement = select(Vault, _SERVERS, _PROCESS_SERVERS)
    if only is not None:
        statement = statement.where(Vault.id == only)
    if q:
        statement = statement.where(
            or_(Vault.name.icontains(q, autoescape=True), Vault.friendly_name.icontains(q, autoescape=True))
        )
    return await fetch_page(session, statement, choose_order(ORDERS, order_by), paging)


async def count_configuration_servers(session: AsyncSession, vault_id: uuid.UUID) -> int:
    """How many configuration servers the vault holds."""
    statement = select(func.count()).select_from(ConfigurationServer).where(ConfigurationServer.vault_id == vault_id)
    return int((await session.execute(statement)).scalar_one())


async def configuration_server_states(session: AsyncSession, vault_id: uuid.UUID) -> dict[str, int]:
    """Configuration servers by connection state."""
    rows = await session.execute(
        select(Host.connection_state, func.count())
        .join(ConfigurationServer, ConfigurationServer.host_row_id == Host.id)
        .where(ConfigurationServer.vault_id == vault_id)
        .group_by(Host.connection_state)
    )
    return {row[0]: row[1] for row in rows}


async def process_server_counts(session: AsyncSession, vault_id: uuid.UUID) -> Sequence[Any]:
    """Process servers by kind, connection state, health and version."""
    rows = await session.execute(
        select(ProcessServer.kind, Host.connection_state, Host.health, Host.agent_version, func.count())
        .join(Host, ProcessServer.host_row_id == Host.id)
        .where(ProcessServer.vault_id == vault_id)
        .group_by(ProcessServer.kind, Host.connection_state, Host.health, Host.agent_version)
    )
    return rows.all()


async def machine_totals(session: AsyncSession, vault_id: uuid.UUID) -> tuple[int, int]:
    """Source machines of the vault and their churn in bytes per day."""
    row = (
        await session.execute(
            select(func.count(), func.coalesce(func.sum(SourceMachine.churn_bytes_per_day), 0)).where(
                SourceMachine.vault_id == vault_id
            )
        )
    ).one()
    return int(row[0]), int(row[1])
