"""Gives the notices that are due. Any number of replicas may look at once: each notice is taken by one."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock
from app.core.db import Database
from app.core.wire import rfc3339
from app.events.service import MONITOR, Resource, record
from app.expiry import queries
from app.expiry.rules import HORIZON, due_notice, end_of_support, in_words, is_pressing
from app.models import ConfigurationServer, ProcessServer
from app.vocabulary import Component, EventType, ResourceKind, Severity

SERVERS_PER_TRANSACTION = 200

Find = Callable[[AsyncSession, datetime, uuid.UUID | None, int], Awaitable[Sequence[Row[Any]]]]


class _Subject(NamedTuple):
    """One kind of thing that expires: where it is found and how it is told."""

    component: Component
    kind: ResourceKind
    event_type: EventType
    find: Find


async def _certificates(
    session: AsyncSession, before: datetime, after: uuid.UUID | None, limit: int
) -> Sequence[Row[Any]]:
    return await queries.certificates(session, before, after, limit)


async def _configuration_servers(
    session: AsyncSession, before: datetime, after: uuid.UUID | None, limit: int
) -> Sequence[Row[Any]]:
    return await queries.support(session, ConfigurationServer, before.date(), after, limit)


async def _process_servers(
    session: AsyncSession, before: datetime, after: uuid.UUID | None, limit: int
) -> Sequence[Row[Any]]:
    return await queries.support(session, ProcessServer, before.date(), after, limit)


_SUBJECTS = (
    _Subject(
        Component.CERTIFICATE,
        ResourceKind.CONFIGURATION_SERVER,
        EventType.CONFIGURATION_SERVER_CERTIFICATE_EXPIRING,
        _certificates,
    ),
    _Subject(
        Component.SUPPORT,
        ResourceKind.CONFIGURATION_SERVER,
        EventType.CONFIGURATION_SERVER_SUPPORT_ENDING,
        _configuration_servers,
    ),
    _Subject(Component.SUPPORT, ResourceKind.PROCESS_SERVER, EventType.PROCESS_SERVER_SUPPORT_ENDING, _process_servers),
)


class ExpiryNotices:
    """Looks for what expires and puts each notice that is due on record, once."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def tick(self) -> int:
        """One look at everything. Returns how many notices were given."""
        await self._database.measure(self._clock)
        given = 0
        for subject in _SUBJECTS:
            after: uuid.UUID | None = None
            while True:
                async with self._database.write() as session:
                    now = self._clock.now()
                    rows = await subject.find(session, now + HORIZON, after, SERVERS_PER_TRANSACTION)
                    for row in rows:
                        given += await _give(session, subject, row, now)
                if len(rows) < SERVERS_PER_TRANSACTION:
                    break
                after = rows[-1].id
        async with self._database.write() as session:
            await queries.forget_removed(session)
        return given


async def _give(session: AsyncSession, subject: _Subject, row: Row[Any], now: datetime) -> bool:
    """Put a server's notice on record if one is due that nobody has given."""
    is_certificate = subject.component is Component.CERTIFICATE
    expires_at = row.expires_at if is_certificate else end_of_support(row.support_ends_on)
    due_at = due_notice(expires_at, row.noticed if row.noticed_expiry == expires_at else None, now)
    if due_at is None or not await queries.take(session, row.id, subject.component, expires_at, due_at):
        return False
    name = f"{subject.kind.value.replace('-', ' ')} {row.name}"
    over = expires_at <= now
    data: dict[str, Any] = {"expiresAt": rfc3339(expires_at), "dueAt": rfc3339(due_at)}
    if is_certificate:
        message = f"the certificate of {name} {'expired' if over else 'expires'} {in_words(expires_at, now)}; renew it"
    else:
        data |= {"version": row.agent_version, "supportEndsOn": row.support_ends_on.isoformat()}
        ending = f"{'ended' if over else 'ends'} {in_words(expires_at, now)}"
        message = f"support of release {row.agent_version}, which {name} runs, {ending}; upgrade it"
    record(
        session,
        row.vault_id,
        now,
        subject.event_type,
        Resource(subject.kind, row.id, row.name),
        actor=MONITOR,
        message=message,
        severity=Severity.CRITICAL if is_pressing(expires_at, now) else Severity.WARNING,
        data=data,
    )
    return True
