"""SQL of the fleet's metrics: one grouped statement for each family, whatever the number of vaults."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Subquery, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.health.queries import muted
from app.models import Alert, ConfigurationServer, Host, ProcessServer, SourceMachine, Vault

OTHER = "other"
"""Stands for all vaults without a label of their own, so a vault of that name never gets one."""


def _shown(limit: int) -> Subquery:
    """The vaults with a label: the oldest, so that one that has it keeps it while others come."""
    statement = select(Vault.id, Vault.name).where(Vault.name != OTHER).order_by(Vault.id).limit(limit)
    return statement.subquery("shown")


async def shown_vaults(session: AsyncSession, limit: int) -> list[str]:
    """Names of the vaults that have a label of their own, at most `limit`."""
    shown = _shown(limit)
    return list((await session.execute(select(shown.c.name))).scalars())


async def count_vaults(session: AsyncSession) -> int:
    """How many vaults there are."""
    return int((await session.execute(select(func.count()).select_from(Vault))).scalar_one())


async def servers(session: AsyncSession, limit: int) -> Sequence[Any]:
    """Rows of vault (None for those without a label), kind, connection state, health and number."""
    shown = _shown(limit)
    labels = (shown.c.name, ProcessServer.kind, Host.connection_state, Host.health)
    statement = (
        select(*labels, func.count())
        .select_from(ProcessServer)
        .join(Host, ProcessServer.host_row_id == Host.id)
        .outerjoin(shown, ProcessServer.vault_id == shown.c.id)
        .group_by(*labels)
    )
    return (await session.execute(statement)).all()


async def alerts(session: AsyncSession, limit: int, now: datetime) -> Sequence[Any]:
    """Rows of vault (None for those without a label), code, severity and number of what fires and is not muted."""
    shown = _shown(limit)
    labels = (shown.c.name, Alert.code, Alert.severity)
    statement = (
        select(*labels, func.count())
        .select_from(Alert)
        .outerjoin(ProcessServer, ProcessServer.id == Alert.resource_id)
        .outerjoin(shown, Alert.vault_id == shown.c.id)
        .where(Alert.cleared_at.is_(None), or_(ProcessServer.id.is_(None), not_(muted(ProcessServer, now))))
        .group_by(*labels)
    )
    return (await session.execute(statement)).all()


async def source_machines(session: AsyncSession, limit: int) -> Sequence[Any]:
    """Rows of vault (None for those without a label), number and churn in bytes per day."""
    shown = _shown(limit)
    statement = (
        select(shown.c.name, func.count(), func.coalesce(func.sum(SourceMachine.churn_bytes_per_day), 0))
        .select_from(SourceMachine)
        .outerjoin(shown, SourceMachine.vault_id == shown.c.id)
        .group_by(shown.c.name)
    )
    return (await session.execute(statement)).all()


async def certificate_expiries(session: AsyncSession, limit: int) -> Sequence[Any]:
    """Rows of vault (None for those without a label) and when its first certificate expires."""
    shown = _shown(limit)
    statement = (
        select(shown.c.name, func.min(ConfigurationServer.certificate_expires_at))
        .select_from(ConfigurationServer)
        .outerjoin(shown, ConfigurationServer.vault_id == shown.c.id)
        .group_by(shown.c.name)
    )
    return (await session.execute(statement)).all()
