"""SQL of onboarding."""

import uuid

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.scope import named
from app.models import ConfigurationServer, Host, Release


async def configuration_server(
    session: AsyncSession, vault_id: uuid.UUID, ref: str
) -> tuple[str, str, list[str]] | None:
    """Name, version and IP addresses of a configuration server by name or id; None when there is none."""
    statement = (
        select(ConfigurationServer.name, Host.agent_version, Host.ip_addresses)
        .join(Host, ConfigurationServer.host_row_id == Host.id)
        .where(ConfigurationServer.vault_id == vault_id, named(ConfigurationServer.id, ConfigurationServer.name, ref))
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else (row.name, row.agent_version, list(row.ip_addresses))


async def is_offered(session: AsyncSession, version: str) -> bool:
    """Whether a version is a release that was not withdrawn, or runs on a configuration server."""
    released = exists().where(Release.version == version, Release.is_withdrawn.is_(False))
    in_use = exists().where(ConfigurationServer.host_row_id == Host.id, Host.agent_version == version)
    return bool((await session.execute(select(released | in_use))).scalar_one())
