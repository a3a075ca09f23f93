"""SQL of the release catalogue."""

import uuid
from collections.abc import Sequence

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


async def releases(session: AsyncSession) -> Sequence[Release]:
    """Every release in full."""
    return (await session.execute(select(Release))).scalars().all()


async def lock_release(session: AsyncSession, version: str) -> Release | None:
    """A release of the catalogue, locked; None when there is none."""
    statement = select(Release).where(Release.version == version).with_for_update(key_share=True)
    return (await session.execute(statement)).scalar_one_or_none()
