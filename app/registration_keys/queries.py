"""SQL of registration keys."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.pagination import PageRequest, choose_order, fetch_page
from app.models import RegistrationKey, Vault

ORDERS: dict[str, Sequence[Any]] = {"createdAt": (RegistrationKey.id,)}


async def list_keys(
    session: AsyncSession, vault_id: uuid.UUID, paging: PageRequest
) -> tuple[Sequence[Any], str | None]:
    """One page of a vault's keys, oldest first."""
    statement = select(RegistrationKey).where(RegistrationKey.vault_id == vault_id)
    return await fetch_page(session, statement, choose_order(ORDERS, "createdAt", within=vault_id), paging)


async def find(session: AsyncSession, vault_id: uuid.UUID, key_id: uuid.UUID) -> RegistrationKey | None:
    """A vault's key, locked against a second revocation."""
    statement = (
        select(RegistrationKey)
        .where(RegistrationKey.vault_id == vault_id, RegistrationKey.id == key_id)
        .with_for_update(key_share=True)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def with_vault(session: AsyncSession, key_id: uuid.UUID) -> tuple[RegistrationKey, Vault] | None:
    """A key and the vault it lets configuration servers into."""
    row = (
        await session.execute(
            select(RegistrationKey, Vault)
            .join(Vault, RegistrationKey.vault_id == Vault.id)
            .where(RegistrationKey.id == key_id)
        )
    ).one_or_none()
    return None if row is None else (row[0], row[1])


async def note_use(session: AsyncSession, key_id: uuid.UUID, now: datetime) -> None:
    """Count one registration with the key."""
    await session.execute(
        update(RegistrationKey)
        .where(RegistrationKey.id == key_id)
        .values(use_count=RegistrationKey.use_count + 1, last_used_at=now)
    )
