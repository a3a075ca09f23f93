"""SQL of decommission."""

import uuid
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import ConfigurationServer, Host, Job, SourceMachine, Vault
from app.vocabulary import OPEN_JOB_STATES, JobType


async def site(session: AsyncSession, configuration_server_id: uuid.UUID) -> Any:
    """Name and connection state of a configuration server, and its vault; None when it was deleted."""
    statement = (
        select(ConfigurationServer.name, Host.connection_state, Vault)
        .join(Host, ConfigurationServer.host_row_id == Host.id)
        .join(Vault, ConfigurationServer.vault_id == Vault.id)
        .where(ConfigurationServer.id == configuration_server_id)
    )
    return (await session.execute(statement)).one_or_none()


async def asked_target(session: AsyncSession, process_server_id: uuid.UUID) -> str | None:
    """The process server that takes the machines, as the open decommission names it."""
    statement = select(Job.target).where(
        Job.resource_id == process_server_id,
        Job.type == JobType.DECOMMISSION.value,
        Job.state.in_([state.value for state in OPEN_JOB_STATES]),
    )
    return (await session.execute(statement.limit(1))).scalar_one_or_none()


async def machine_count(session: AsyncSession, process_server_id: uuid.UUID) -> int:
    """How many source machines use a process server."""
    statement = select(func.count()).select_from(SourceMachine)
    return (await session.execute(statement.where(SourceMachine.process_server_id == process_server_id))).scalar_one()
