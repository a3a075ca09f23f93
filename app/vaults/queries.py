"""SQL of vaults."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.pagination import PageRequest, choose_order, fetch_page
from app.health.queries import worst
from app.models import Alert, ConfigurationServer, Host, ProcessServer, SourceMachine, Vault

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


def _read(now: datetime) -> Select[Any]:
    """Vaults, how many servers they hold, and the worst of what fires on these."""
    return select(Vault, _SERVERS, _PROCESS_SERVERS, worst(Alert.vault_id == Vault.id, Vault, now).label("health"))


async def read_with_counts(session: AsyncSession, vault_id: uuid.UUID, now: datetime) -> Any:
    """The vault, how many servers it holds, and its health."""
    return (await session.execute(_read(now).where(Vault.id == vault_id))).one()


async def list_vaults(
    session: AsyncSession, paging: PageRequest, *, order_by: str, only: uuid.UUID | None, q: str | None, now: datetime
) -> tuple[Sequence[Any], str | None]:
    """One page of vaults: all, or the one in scope."""
    statement = _read(now)
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


async def configuration_server_healths(session: AsyncSession, vault_id: uuid.UUID, now: datetime) -> dict[str, int]:
    """Configuration servers by the health of their sites."""
    of_site = worst(Alert.configuration_server_id == ConfigurationServer.id, ConfigurationServer, now)
    sites = select(of_site.label("health")).where(ConfigurationServer.vault_id == vault_id).subquery()
    rows = await session.execute(select(sites.c.health, func.count()).group_by(sites.c.health))
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
