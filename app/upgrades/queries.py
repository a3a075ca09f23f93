"""SQL of upgrade plans."""

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.pagination import PageRequest, choose_order, fetch_page
from app.models import Host, ProcessServer, SourceMachine
from app.vocabulary import ServerKind

Pair = tuple[str | None, str | None]
"""The version of a machine's agent, and the one it had at the last reboot."""

_AGENT, _AT_LAST_REBOOT = SourceMachine.agent_version, SourceMachine.last_reboot_agent_version


async def process_servers(session: AsyncSession, server_id: uuid.UUID) -> Sequence[Any]:
    """The process servers of a configuration server by name, but for the inbuilt one, with their hosts."""
    statement = (
        select(ProcessServer, Host)
        .join(Host, ProcessServer.host_row_id == Host.id)
        .where(ProcessServer.configuration_server_id == server_id, ProcessServer.kind != ServerKind.INBUILT.value)
        .order_by(ProcessServer.name)
    )
    return (await session.execute(statement)).all()


async def machine_counts(session: AsyncSession, server_id: uuid.UUID) -> dict[Pair, int]:
    """How many source machines of a configuration server there are of each pair of versions."""
    statement = (
        select(_AGENT, _AT_LAST_REBOOT, func.count())
        .where(SourceMachine.configuration_server_id == server_id)
        .group_by(_AGENT, _AT_LAST_REBOOT)
    )
    return {(row[0], row[1]): row[2] for row in await session.execute(statement)}


async def machines_with(
    session: AsyncSession, server_id: uuid.UUID, pairs: Collection[Pair], paging: PageRequest
) -> tuple[Sequence[Any], str | None]:
    """One page of a configuration server's machines with one of these pairs of versions, by name."""
    # No version is empty; as NULL it would equal nothing.
    versions = tuple_(func.coalesce(_AGENT, ""), func.coalesce(_AT_LAST_REBOOT, ""))
    wanted = [(agent or "", at_last_reboot or "") for agent, at_last_reboot in pairs]
    statement = (
        select(SourceMachine, ProcessServer.name.label("process_server"))
        .join(ProcessServer, SourceMachine.process_server_id == ProcessServer.id)
        .where(SourceMachine.configuration_server_id == server_id, versions.in_(wanted))
    )
    order = choose_order({"name": (SourceMachine.name,)}, "name", within=server_id)
    return await fetch_page(session, statement, order, paging)
