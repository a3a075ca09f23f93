"""SQL of balancing: the machines that are to move, and names for what is told."""

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import ProcessServer, SourceMachine

_AT_ONCE = 500
"""Ids in one statement; SQLite and PostgreSQL limit the number of parameters."""


async def lock_machines(session: AsyncSession, server_id: uuid.UUID, refs: Sequence[str]) -> Sequence[SourceMachine]:
    """A configuration server's machines by names or ids, locked by rising id and fresh."""
    ids = [found for ref in refs if (found := _as_id(ref)) is not None]
    statement = (
        select(SourceMachine)
        .where(
            SourceMachine.configuration_server_id == server_id,
            or_(SourceMachine.name.in_([ref.lower() for ref in refs]), SourceMachine.id.in_(ids)),
        )
        .order_by(SourceMachine.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalars().all()


def _as_id(ref: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(ref)
    except ValueError:
        return None


async def names_of(session: AsyncSession, server_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Names of process servers."""
    statement = select(ProcessServer.id, ProcessServer.name).where(ProcessServer.id.in_(server_ids))
    return {row.id: row.name for row in await session.execute(statement)}


async def assignments(session: AsyncSession, server_id: uuid.UUID) -> Sequence[Any]:
    """Id, name, churn and process server of each machine of a configuration server, by id."""
    statement = (
        select(SourceMachine.id, SourceMachine.name, SourceMachine.churn_bytes_per_day, SourceMachine.process_server_id)
        .where(SourceMachine.configuration_server_id == server_id)
        .order_by(SourceMachine.id)
    )
    return (await session.execute(statement)).all()


async def process_servers_of(session: AsyncSession, server_id: uuid.UUID) -> Sequence[Any]:
    """Ids of a configuration server's process servers and of their hosts."""
    statement = select(ProcessServer.id, ProcessServer.host_row_id).where(
        ProcessServer.configuration_server_id == server_id
    )
    return (await session.execute(statement)).all()


async def lock_machines_by_id(session: AsyncSession, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, SourceMachine]:
    """Machines by id, locked by rising id and fresh."""
    found: dict[uuid.UUID, SourceMachine] = {}
    ordered = sorted(ids)
    for start in range(0, len(ordered), _AT_ONCE):
        statement = (
            select(SourceMachine)
            .where(SourceMachine.id.in_(ordered[start : start + _AT_ONCE]))
            .order_by(SourceMachine.id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
        found.update({machine.id: machine for machine in (await session.execute(statement)).scalars()})
    return found
