"""SQL of imports: sets in a few statements, however many rows a file has."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import ProcessServer, SourceMachine
from app.source_machines.imports.rules import Present
from app.source_machines.records import MEMBERS

CHUNK = 1_000
"""Rows of a statement. Between two of them other requests get their turn on the event loop."""
Entry = TypeVar("Entry")


async def process_servers(session: AsyncSession, server_id: uuid.UUID) -> Sequence[ProcessServer]:
    """The process servers of a configuration server."""
    statement = select(ProcessServer).where(ProcessServer.configuration_server_id == server_id)
    return (await session.execute(statement)).scalars().all()


async def present(session: AsyncSession, server_id: uuid.UUID, names: Iterable[str]) -> dict[str, Present]:
    """Those of the named machines that a configuration server has, by name."""
    columns = [getattr(SourceMachine, column) for column in MEMBERS]
    statement = select(
        SourceMachine.name, SourceMachine.id, SourceMachine.process_server_id, SourceMachine.revision, *columns
    )
    found: dict[str, Present] = {}
    for chunk in _chunks(sorted(names)):
        rows = await session.execute(
            statement.where(SourceMachine.configuration_server_id == server_id, SourceMachine.name.in_(chunk))
        )
        for name, machine_id, process_server_id, revision, *values in rows:
            found[name] = Present(machine_id, process_server_id, revision, dict(zip(MEMBERS, values, strict=True)))
    return found


async def insert_machines(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Add machines."""
    for chunk in _chunks(rows):
        await session.execute(insert(SourceMachine), chunk)


async def update_machines(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Change machines by their `id`."""
    for chunk in _chunks(rows):
        await session.execute(update(SourceMachine), chunk)


def _chunks(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    for start in range(0, len(entries), CHUNK):
        yield list(entries[start : start + CHUNK])
