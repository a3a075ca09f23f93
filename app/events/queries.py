"""SQL of the event record."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.scope import named
from app.core.errors import CursorExpired
from app.core.pagination import PageRequest, choose_order, decode_cursor, fetch_page
from app.models import Event, EventCounter

ORDERS: dict[str, Sequence[Any]] = {"sequence": (Event.sequence,)}


async def reserve_numbers(session: AsyncSession, vault_id: uuid.UUID, count: int) -> int:
    """Take `count` numbers and hold the vault's counter until commit. Returns the last of them."""
    dialect = session.get_bind().dialect.name
    upsert = sqlite.insert(EventCounter) if dialect == "sqlite" else postgresql.insert(EventCounter)
    statement = (
        upsert.values(vault_id=vault_id, last_sequence=count, oldest_kept=1)
        .on_conflict_do_update(
            index_elements=[EventCounter.vault_id],
            set_={"last_sequence": EventCounter.last_sequence + count},
        )
        .returning(EventCounter.last_sequence)
    )
    return int((await session.execute(statement)).scalar_one())


async def insert_events(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    """Append events."""
    await session.execute(insert(Event), rows)


async def counter(session: AsyncSession, vault_id: uuid.UUID) -> tuple[int, int]:
    """The last number handed out and the oldest that is kept."""
    row = (
        await session.execute(
            select(EventCounter.last_sequence, EventCounter.oldest_kept).where(EventCounter.vault_id == vault_id)
        )
    ).one_or_none()
    return (0, 1) if row is None else (row.last_sequence, row.oldest_kept)


async def list_events(
    session: AsyncSession,
    vault_id: uuid.UUID,
    paging: PageRequest,
    *,
    order_by: str,
    types: Sequence[str] = (),
    resource: str | None = None,
    severities: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[Sequence[Any], str | None]:
    """One page of a vault's events. A type that ends in `.` is a prefix; `resource` is a name or an id."""
    statement = select(Event).where(Event.vault_id == vault_id)
    if types:
        statement = statement.where(
            or_(
                *(
                    Event.type.startswith(kind, autoescape=True) if kind.endswith(".") else Event.type == kind
                    for kind in types
                )
            )
        )
    if severities:
        statement = statement.where(Event.severity.in_(severities))
    if resource is not None:
        statement = statement.where(named(Event.resource_id, Event.resource_name, resource))
    if since is not None:
        statement = statement.where(Event.time >= since)
    if until is not None:
        statement = statement.where(Event.time < until)
    order = choose_order(ORDERS, order_by, within=vault_id)
    if paging.cursor is not None and not order.is_descending:
        after: int = decode_cursor(order.position_of, paging.cursor, (int,))[0]
        _, oldest_kept = await counter(session, vault_id)
        if after + 1 < oldest_kept:
            raise CursorExpired(
                f"the cursor points after event {after}, the oldest that is kept is {oldest_kept}; start without one",
                oldestSequence=oldest_kept,
            )
    return await fetch_page(session, statement, order, paging)


async def delete_older(session: AsyncSession, moment: datetime, batch: int) -> int:
    """Delete up to `batch` events from before `moment` and remember the oldest number kept. Returns how many."""
    doomed = (
        await session.execute(
            select(Event.vault_id, Event.sequence).where(Event.time < moment).order_by(Event.time).limit(batch)
        )
    ).all()
    newest: dict[uuid.UUID, int] = {}
    for row in doomed:
        newest[row.vault_id] = max(newest.get(row.vault_id, 0), row.sequence)
    deleted = 0
    for vault_id in sorted(newest):
        # Numbers rise with time but for clock corrections; deleting a prefix keeps "all from here on" true.
        result: Any = await session.execute(
            delete(Event).where(Event.vault_id == vault_id, Event.sequence <= newest[vault_id])
        )
        deleted += int(result.rowcount)
        await session.execute(
            update(EventCounter).where(EventCounter.vault_id == vault_id).values(oldest_kept=newest[vault_id] + 1)
        )
    return deleted
