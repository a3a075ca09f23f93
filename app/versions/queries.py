"""SQL of the release catalogue."""

import uuid

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Host, Release
from app.versions.rules import CatalogueEntry, Version


async def catalogue(session: AsyncSession) -> list[CatalogueEntry]:
    """Every release, as the rules want it."""
    rows = await session.execute(select(Release.version, Release.is_withdrawn, Release.needs_security_update))
    return [CatalogueEntry(Version.parse(row.version), row.is_withdrawn, row.needs_security_update) for row in rows]


async def versions_in_use(session: AsyncSession, vault_id: uuid.UUID) -> list[str]:
    """The distinct versions that a vault's servers report."""
    rows = await session.execute(select(Host.agent_version).where(Host.vault_id == vault_id).distinct())
    return list(rows.scalars())
