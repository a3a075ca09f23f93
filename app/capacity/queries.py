"""SQL of capacity."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Host, ProcessServer, SourceMachine


async def process_servers(session: AsyncSession, server_id: uuid.UUID) -> Sequence[Any]:
    """Each process server of a configuration server with its host, number of machines and churn, by name."""
    loads = (
        select(
            SourceMachine.process_server_id,
            func.count().label("machines"),
            func.sum(SourceMachine.churn_bytes_per_day).label("churn"),
        )
        .where(SourceMachine.configuration_server_id == server_id)
        .group_by(SourceMachine.process_server_id)
        .subquery()
    )
    statement = (
        select(ProcessServer, Host, func.coalesce(loads.c.machines, 0), func.coalesce(loads.c.churn, 0))
        .join(Host, ProcessServer.host_row_id == Host.id)
        .outerjoin(loads, loads.c.process_server_id == ProcessServer.id)
        .where(ProcessServer.configuration_server_id == server_id)
        .order_by(ProcessServer.name)
    )
    rows: Sequence[Any] = (await session.execute(statement)).all()
    return rows


async def machines_above(session: AsyncSession, server_id: uuid.UUID, churn: int, limit: int) -> Sequence[Any]:
    """Names and churn of the machines that change more than `churn` bytes a day, at most `limit`, by name."""
    statement = (
        select(SourceMachine.name, SourceMachine.churn_bytes_per_day)
        .where(SourceMachine.configuration_server_id == server_id, SourceMachine.churn_bytes_per_day > churn)
        .order_by(SourceMachine.name)
        .limit(limit)
    )
    return (await session.execute(statement)).all()
