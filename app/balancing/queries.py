"""SQL of balancing: the machines that are to move, and names for what is told."""

import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import ProcessServer, SourceMachine


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
