"""A vault's record as tests need it: many events at once, and the end of their retention."""

import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select, update

from app.core.clock import Clock
from app.core.db import Database
from app.events.queries import delete_older
from app.events.service import Resource, record
from app.models import Event, Vault
from app.vocabulary import EventType, ResourceKind, Severity

VARIETY = [
    (EventType.PROCESS_SERVER_REGISTERED, Severity.INFORMATION, "ps-1"),
    (EventType.PROCESS_SERVER_DISCONNECTED, Severity.CRITICAL, "ps-1"),
    (EventType.PROCESS_SERVER_CONNECTED, Severity.INFORMATION, "ps-2"),
    (EventType.CONFIGURATION_SERVER_DISCONNECTED, Severity.CRITICAL, "cs-1"),
    (EventType.PROCESS_SERVER_ALERT_RAISED, Severity.WARNING, "ps-2"),
    (EventType.VAULT_UPDATED, Severity.INFORMATION, "contoso"),
]
"""Type, severity and name of the resource, of the events that `record_events` writes in turn."""


def resource_id(name: str) -> uuid.UUID:
    """The id of the resource of that name."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, name)


async def record_events(
    database: Database,
    clock: Clock,
    count: int,
    *,
    vault: str = "contoso",
    variety: Sequence[tuple[EventType, Severity, str]] = VARIETY,
    padding: int = 0,
) -> None:
    """Write `count` events in one transaction, each longer by `padding` bytes."""
    async with database.write() as session:
        vault_id = (await session.execute(select(Vault.id).where(Vault.name == vault))).scalar_one()
        for number in range(count):
            kind, severity, name = variety[number % len(variety)]
            record(
                session,
                vault_id,
                clock.now(),
                kind,
                Resource(ResourceKind(kind.value.split(".")[0]), resource_id(name), name),
                actor="test",
                message=f"event {number} of {count}; a line separator \u2028 and a new line \n are no end",
                severity=severity,
                data={"number": number, **({"padding": "x" * padding} if padding else {})},
            )


async def delete_up_to(database: Database, clock: Clock, number: int) -> None:
    """End the retention of the events up to `number`, in the database's only vault."""
    old = clock.now() - timedelta(days=400)
    async with database.write() as session:
        await session.execute(update(Event).where(Event.sequence <= number).values(time=old))
        await session.flush()
        await delete_older(session, clock.now() - timedelta(days=1), number)
