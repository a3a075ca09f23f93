"""SQL of the event record."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.scope import named
from app.core.errors import CursorExpired
from app.core.pagination import PageRequest, choose_order, decode_cursor, fetch_page
from app.events.rules import EVERYTHING, Selection, is_expired
from app.models import ApiToken, Event, EventCounter, Vault

NOTIFICATIONS = "muster_events"
"""The PostgreSQL channel on which writers name the vaults that have new events."""
CHUNK = 1_000
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
    """Append events; of very many a part at a time, so that other requests get their turn on the event loop."""
    for start in range(0, len(rows), CHUNK):
        await session.execute(insert(Event), rows[start : start + CHUNK])


async def counter(session: AsyncSession, vault_id: uuid.UUID) -> tuple[int, int]:
    """The last number handed out and the oldest that is kept."""
    row = (
        await session.execute(
            select(EventCounter.last_sequence, EventCounter.oldest_kept).where(EventCounter.vault_id == vault_id)
        )
    ).one_or_none()
    return (0, 1) if row is None else (row.last_sequence, row.oldest_kept)


def conditions(selection: Selection) -> list[ColumnElement[bool]]:
    """The selection as SQL; `Selection.matches` is the same rule."""
    found: list[ColumnElement[bool]] = []
    if selection.types:
        found.append(or_(*(_of_type(entry) for entry in selection.types)))
    if selection.severities:
        found.append(Event.severity.in_(selection.severities))
    if selection.resource is not None:
        found.append(named(Event.resource_id, Event.resource_name, selection.resource))
    return found


def _of_type(entry: str) -> ColumnElement[bool]:
    if not entry.endswith("."):
        return Event.type == entry
    # Not LIKE, which takes capitals for small letters on SQLite and not on PostgreSQL.
    return func.substr(Event.type, 1, len(entry)) == entry


async def list_events(
    session: AsyncSession,
    vault_id: uuid.UUID,
    paging: PageRequest,
    selection: Selection,
    *,
    order_by: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[Sequence[Any], str | None]:
    """One page of a vault's events. Raises CursorExpired where events after an ascending cursor were deleted."""
    statement = select(Event).where(Event.vault_id == vault_id, *conditions(selection))
    if since is not None:
        statement = statement.where(Event.time >= since)
    if until is not None:
        statement = statement.where(Event.time < until)
    order = choose_order(ORDERS, order_by, within=vault_id)
    page = await fetch_page(session, statement, order, paging)
    if paging.cursor is not None and not order.is_descending:
        after: int = decode_cursor(order.position_of, paging.cursor, (int,))[0]
        # After the page was read: what is deleted in between must not be skipped in silence.
        _, oldest_kept = await counter(session, vault_id)
        if is_expired(after, oldest_kept):
            raise CursorExpired(
                f"the cursor points after event {after}, the oldest that is kept is {oldest_kept}; start without one",
                oldestSequence=oldest_kept,
            )
    return page


class Stretch(NamedTuple):
    """What follows a number of a vault's record, as of one moment."""

    events: Sequence[Any]
    """Rows with the columns of `Event`, by rising number."""
    last: int
    oldest_kept: int


async def read_after(
    session: AsyncSession, vault_id: uuid.UUID, after: int, limit: int, selection: Selection = EVERYTHING
) -> Stretch:
    """Up to `limit` events after number `after`.

    One statement, so that events and counter belong together: a stretch that holds fewer than `limit` events holds
    all that are selected up to `last`, unless some were deleted, which `oldest_kept` tells.
    """
    found = (
        select(Event)
        .where(Event.vault_id == vault_id, Event.sequence > after, *conditions(selection))
        .order_by(Event.sequence)
        .limit(limit)
        .subquery()
    )
    statement = (
        select(EventCounter.last_sequence, EventCounter.oldest_kept, found)
        .outerjoin(found, found.c.vault_id == EventCounter.vault_id)
        .where(EventCounter.vault_id == vault_id)
        .order_by(found.c.sequence)
    )
    rows = (await session.execute(statement)).all()
    if not rows:
        return Stretch((), 0, 1)
    events = [row for row in rows if row.sequence is not None]
    return Stretch(events, rows[0].last_sequence, rows[0].oldest_kept)


async def last_numbers(session: AsyncSession, vault_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    """The last number that was handed out, of each of these vaults that has one."""
    rows = await session.execute(
        select(EventCounter.vault_id, EventCounter.last_sequence).where(EventCounter.vault_id.in_(vault_ids))
    )
    return {row.vault_id: row.last_sequence for row in rows}


async def existing_vaults(session: AsyncSession, vault_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of these vaults that were not deleted."""
    return set((await session.execute(select(Vault.id).where(Vault.id.in_(vault_ids)))).scalars())


async def valid_tokens(session: AsyncSession, token_ids: Collection[uuid.UUID], now: datetime) -> set[uuid.UUID]:
    """Those of these API tokens that were neither deleted nor have expired at `now`."""
    is_current = or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now)
    return set((await session.execute(select(ApiToken.id).where(ApiToken.id.in_(token_ids), is_current))).scalars())


async def announce(session: AsyncSession, vault_ids: Collection[uuid.UUID]) -> None:
    """On PostgreSQL, have the commit tell all replicas that these vaults have new events."""
    if session.get_bind().dialect.name != "postgresql":
        return
    statement = text("SELECT pg_notify(:channel, vault) FROM unnest(CAST(:vaults AS text[])) AS vault")
    await session.execute(statement, {"channel": NOTIFICATIONS, "vaults": [str(entry) for entry in vault_ids]})


async def delete_older(session: AsyncSession, moment: datetime, batch: int) -> int:
    """Delete up to `batch` events from before `moment` and remember the oldest number kept. Returns how many."""
    doomed = (
        await session.execute(
            select(Event.vault_id, Event.sequence)
            .where(Event.time < moment)
            .order_by(Event.time, Event.sequence)
            .limit(batch)
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
        # Never back: another replica may have deleted further meanwhile, and its events would be missed in silence.
        await session.execute(
            update(EventCounter)
            .where(EventCounter.vault_id == vault_id, EventCounter.oldest_kept <= newest[vault_id])
            .values(oldest_kept=newest[vault_id] + 1)
        )
    return deleted
