"""Recording events: noted during a transaction, numbered and written just before it commits."""

import functools
import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import after_commit, before_commit
from app.core.errors import CursorExpired, Invalid
from app.events import queries
from app.events.rules import is_expired
from app.vocabulary import EventType, ResourceKind, Severity

_PENDING = "pending_events"
ON_COMMIT = "events_committed"
"""In a session's `info`: what to call with the vaults that have new events, once they are durable."""
MONITOR = "monitor"
AGENT = "agent"


class Resource(NamedTuple):
    """What an event speaks of."""

    kind: ResourceKind
    id: uuid.UUID
    name: str


class Start(NamedTuple):
    """Where a client wants to resume: after the event with this number, which it gave in this place."""

    after: int
    pointer: str
    """JSON pointer of the parameter, for the refusal."""


class Place(NamedTuple):
    """Where a stream begins: after `position`; `head` is the last number at that moment."""

    position: int
    head: int


class Fact(NamedTuple):
    """An event before it has a number."""

    vault_id: uuid.UUID
    time: datetime
    type: EventType
    severity: Severity
    resource: Resource
    actor: str
    message: str
    data: dict[str, Any]


def record(
    session: AsyncSession,
    vault_id: uuid.UUID,
    time: datetime,
    event_type: EventType,
    resource: Resource,
    *,
    actor: str,
    message: str,
    severity: Severity = Severity.INFORMATION,
    data: dict[str, Any] | None = None,
) -> None:
    """Write an event in the session's transaction.

    Numbers are handed out last (`core.db` states the lock order), so a vault's counter is held for the
    shortest time and its numbers become visible in order: a reader never misses one that commits late.
    """
    fact = Fact(vault_id, time, event_type, severity, resource, actor, message, data or {})
    pending: list[Fact] | None = session.info.get(_PENDING)
    if pending is None:
        pending = session.info[_PENDING] = []
        before_commit(session, _write)
    pending.append(fact)


async def place_of(session: AsyncSession, vault_id: uuid.UUID, start: Start | None) -> Place:
    """Where a stream begins; without a start, at the present end.

    Raises Invalid for a number that was never handed out, CursorExpired where events after it were deleted.
    """
    last, oldest_kept = await queries.counter(session, vault_id)
    if start is None:
        return Place(last, last)
    if start.after > last:
        detail = (
            f"{start.after} is above the last event's number, {last}; give the number of the last event that arrived"
        )
        raise Invalid(
            f"{start.pointer}: {detail}, 0 for all that are kept, or none for new ones",
            [{"pointer": start.pointer, "detail": detail}],
        )
    if is_expired(start.after, oldest_kept):
        raise expired(start.after, oldest_kept)
    return Place(start.after, last)


def expired(after: int, oldest_kept: int) -> CursorExpired:
    """The error for a client that wants what follows number `after`, some of which was deleted."""
    return CursorExpired(
        f"events {after + 1} to {oldest_kept - 1} are no longer kept; resume after {oldest_kept - 1} to have all that "
        "are, or without a number for new ones",
        oldestSequence=oldest_kept,
    )


async def _write(session: AsyncSession) -> None:
    facts: Sequence[Fact] = session.info.pop(_PENDING, [])
    by_vault: dict[uuid.UUID, list[Fact]] = {}
    for fact in facts:
        by_vault.setdefault(fact.vault_id, []).append(fact)
    await session.flush()
    for vault_id in sorted(by_vault):
        of_vault = by_vault[vault_id]
        last = await queries.reserve_numbers(session, vault_id, len(of_vault))
        first = last - len(of_vault) + 1
        await queries.insert_events(
            session,
            [
                {
                    "vault_id": vault_id,
                    "sequence": first + position,
                    "time": fact.time,
                    "type": fact.type.value,
                    "severity": fact.severity.value,
                    "resource_kind": fact.resource.kind.value,
                    "resource_id": fact.resource.id,
                    "resource_name": fact.resource.name,
                    "actor": fact.actor,
                    "message": fact.message[:2000],
                    "data": fact.data,
                }
                for position, fact in enumerate(of_vault)
            ],
        )
    await queries.announce(session, sorted(by_vault))
    notice: Callable[[Collection[uuid.UUID]], None] | None = session.info.get(ON_COMMIT)
    if notice is not None:
        after_commit(session, functools.partial(notice, tuple(by_vault)))
