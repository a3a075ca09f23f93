"""Recording events: noted during a transaction, numbered and written just before it commits."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import before_commit
from app.events import queries
from app.vocabulary import EventType, ResourceKind, Severity

_PENDING = "pending_events"
MONITOR = "monitor"
AGENT = "agent"


class Resource(NamedTuple):
    """What an event speaks of."""

    kind: ResourceKind
    id: uuid.UUID
    name: str


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
