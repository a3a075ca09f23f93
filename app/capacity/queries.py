"""SQL of capacity."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import SourceMachine


async def machines_above(session: AsyncSession, server_id: uuid.UUID, churn: int, limit: int) -> Sequence[Any]:
    """Names and churn of the machines that change more than `churn` bytes a day, at most `limit`, by name."""
    statement = (
        select(SourceMachine.name, SourceMachine.churn_bytes_per_day)
        .where(SourceMachine.configuration_server_id == server_id, SourceMachine.churn_bytes_per_day > churn)
        .order_by(SourceMachine.name)
        .limit(limit)
    )
    return (await session.execute(statement)).all()
