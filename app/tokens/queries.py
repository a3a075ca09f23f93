"""SQL of API tokens."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.pagination import PageRequest, choose_order, fetch_page
from app.models import ApiToken, Vault
from app.vocabulary import Role

ORDERS: dict[str, Sequence[Any]] = {"createdAt": (ApiToken.created_at, ApiToken.id), "name": (ApiToken.name,)}


async def list_tokens(session: AsyncSession, paging: PageRequest, order_by: str) -> tuple[Sequence[Any], str | None]:
    """One page of tokens and the names of their vaults."""
    statement = select(ApiToken, Vault.name.label("vault")).outerjoin(Vault, ApiToken.vault_id == Vault.id)
    return await fetch_page(session, statement, choose_order(ORDERS, order_by), paging)


async def lock_admins(session: AsyncSession, now: datetime) -> Sequence[ApiToken]:
    """Every valid admin token for all vaults, locked: two deletions can't both leave the last one."""
    statement = (
        select(ApiToken)
        .where(
            ApiToken.role == Role.ADMIN.value,
            ApiToken.vault_id.is_(None),
            or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now),
        )
        .order_by(ApiToken.id)
        .with_for_update(key_share=True)
    )
    return (await session.execute(statement)).scalars().all()


async def find(session: AsyncSession, token_id: uuid.UUID) -> ApiToken | None:
    """A token by id."""
    return (await session.execute(select(ApiToken).where(ApiToken.id == token_id))).scalar_one_or_none()


async def count(session: AsyncSession) -> int:
    """How many tokens there are."""
    return int((await session.execute(select(func.count()).select_from(ApiToken))).scalar_one())
