"""SQL of the outbox. Rows are locked channel before delivery; claims skip what somebody else works on."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.pagination import PageRequest, choose_order, fetch_page
from app.models import (
    ConfigurationServer,
    Event,
    EventCounter,
    NotificationChannel,
    NotificationDelivery,
    ProcessServer,
    SourceMachine,
    Tombstone,
    Vault,
)
from app.vocabulary import ChannelKind, DeliveryKind, DeliveryState, ResourceKind

CHANNEL_ORDERS: dict[str, Sequence[Any]] = {"createdAt": (NotificationChannel.id,)}
DELIVERY_ORDERS: dict[str, Sequence[Any]] = {"createdAt": (NotificationDelivery.id,)}
_PENDING = NotificationDelivery.state == DeliveryState.PENDING.value


async def list_channels(
    session: AsyncSession, vault_id: uuid.UUID, kind: ChannelKind, paging: PageRequest
) -> tuple[Sequence[Any], str | None]:
    """One page of a vault's channels of a kind, oldest first."""
    statement = select(NotificationChannel).where(
        NotificationChannel.vault_id == vault_id, NotificationChannel.kind == kind.value
    )
    return await fetch_page(session, statement, choose_order(CHANNEL_ORDERS, "createdAt", within=vault_id), paging)


async def find_channel(
    session: AsyncSession, vault_id: uuid.UUID, kind: ChannelKind, channel_id: uuid.UUID, *, for_update: bool = False
) -> NotificationChannel | None:
    """A vault's channel of a kind, locked when it is about to change."""
    statement = select(NotificationChannel).where(
        NotificationChannel.id == channel_id,
        NotificationChannel.vault_id == vault_id,
        NotificationChannel.kind == kind.value,
    )
    if for_update:
        statement = statement.with_for_update(key_share=True)
    return (await session.execute(statement)).scalar_one_or_none()


async def lock_channel(session: AsyncSession, channel_id: uuid.UUID) -> NotificationChannel | None:
    """A channel, locked; None when it was deleted."""
    statement = select(NotificationChannel).where(NotificationChannel.id == channel_id)
    return (await session.execute(statement.with_for_update(key_share=True))).scalar_one_or_none()


async def newest_secret(session: AsyncSession) -> str | None:
    """The sealed secret of the webhook that was created last."""
    statement = select(NotificationChannel.secret).where(NotificationChannel.secret.is_not(None))
    return (await session.execute(statement.order_by(NotificationChannel.id.desc()).limit(1))).scalar_one_or_none()


async def channels_behind(session: AsyncSession) -> Sequence[uuid.UUID]:
    """Enabled channels of vaults with events that they have not seen."""
    statement = (
        select(NotificationChannel.id)
        .join(EventCounter, EventCounter.vault_id == NotificationChannel.vault_id)
        .where(NotificationChannel.is_enabled, NotificationChannel.cursor < EventCounter.last_sequence)
        .order_by(NotificationChannel.id)
    )
    return (await session.execute(statement)).scalars().all()


async def claim_channel(session: AsyncSession, channel_id: uuid.UUID) -> tuple[NotificationChannel, str] | None:
    """An enabled channel, locked, and its vault's name; None when somebody else works on it or it is gone."""
    statement = (
        select(NotificationChannel, Vault.name)
        .join(Vault, Vault.id == NotificationChannel.vault_id)
        .where(NotificationChannel.id == channel_id, NotificationChannel.is_enabled)
        .with_for_update(key_share=True, skip_locked=True, of=NotificationChannel)
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else (row[0], row[1])


async def events_after(session: AsyncSession, vault_id: uuid.UUID, sequence: int, limit: int) -> Sequence[Event]:
    """The next events of a vault. Numbers become visible in order, so none appears below the last one later."""
    statement = select(Event).where(Event.vault_id == vault_id, Event.sequence > sequence)
    return (await session.execute(statement.order_by(Event.sequence).limit(limit))).scalars().all()


async def sites_of(session: AsyncSession, vault_id: uuid.UUID, events: Sequence[Event]) -> dict[uuid.UUID, uuid.UUID]:
    """The configuration server that each event's resource belongs to, also of process servers that were removed."""
    by_kind: dict[str, set[uuid.UUID]] = {}
    for event in events:
        by_kind.setdefault(event.resource_kind, set()).add(event.resource_id)
    found = {resource: resource for resource in by_kind.get(ResourceKind.CONFIGURATION_SERVER.value, ())}
    servers = by_kind.get(ResourceKind.PROCESS_SERVER.value, set())
    machines = by_kind.get(ResourceKind.SOURCE_MACHINE.value, set())
    for model, ids in ((ProcessServer, servers), (SourceMachine, machines)):
        if ids:
            rows = await session.execute(select(model.id, model.configuration_server_id).where(model.id.in_(ids)))
            found |= {row[0]: row[1] for row in rows}
    removed = servers - found.keys()
    if removed:
        statement = select(Tombstone.resource_id, Tombstone.configuration_server_id).where(
            Tombstone.vault_id == vault_id, Tombstone.resource_id.in_(removed)
        )
        found |= {row[0]: row[1] for row in await session.execute(statement)}
    return found


async def site_name(session: AsyncSession, vault_id: uuid.UUID, site_id: uuid.UUID) -> str:
    """The name of a configuration server, also of one that was removed; its id where nothing knows it any more."""
    present = select(ConfigurationServer.name).where(ConfigurationServer.id == site_id)
    removed = select(Tombstone.name).where(Tombstone.vault_id == vault_id, Tombstone.resource_id == site_id).limit(1)
    for statement in (present, removed):
        name = (await session.execute(statement)).scalar_one_or_none()
        if name is not None:
            return name
    return str(site_id)


async def channels_with_due(session: AsyncSession, now: datetime) -> list[tuple[uuid.UUID, bool]]:
    """Channels that have something to send, and whether their last attempt failed. The longest due come first."""
    due = (
        select(NotificationDelivery.channel_id, func.min(NotificationDelivery.next_attempt_at).label("since"))
        .where(_PENDING, NotificationDelivery.next_attempt_at <= now)
        .group_by(NotificationDelivery.channel_id)
        .subquery()
    )
    statement = (
        select(NotificationChannel.id, NotificationChannel.failing_since.is_not(None))
        .join(due, due.c.channel_id == NotificationChannel.id)
        .order_by(due.c.since, NotificationChannel.id)
    )
    return [(row[0], row[1]) for row in await session.execute(statement)]


async def claim_due(
    session: AsyncSession, wanted: Mapping[uuid.UUID, int], now: datetime, lease: timedelta
) -> list[tuple[NotificationChannel, NotificationDelivery]]:
    """Take up to so many due deliveries of each channel. Until the lease ends nobody else takes them."""
    taken: list[tuple[NotificationChannel, NotificationDelivery]] = []
    for channel_id, count in wanted.items():
        statement = (
            select(NotificationChannel, NotificationDelivery)
            .join(NotificationChannel, NotificationChannel.id == NotificationDelivery.channel_id)
            .where(_PENDING, NotificationDelivery.next_attempt_at <= now, NotificationChannel.id == channel_id)
            .order_by(NotificationDelivery.next_attempt_at, NotificationDelivery.id)
            .limit(count)
            .with_for_update(key_share=True, skip_locked=True, of=NotificationDelivery)
        )
        for channel, delivery in (await session.execute(statement)).all():
            delivery.attempts += 1
            delivery.last_attempt_at = now
            delivery.next_attempt_at = now + lease
            taken.append((channel, delivery))
    return taken


async def lock_delivery(session: AsyncSession, delivery_id: uuid.UUID) -> NotificationDelivery | None:
    """A delivery, locked; None when it was deleted."""
    statement = select(NotificationDelivery).where(NotificationDelivery.id == delivery_id)
    return (await session.execute(statement.with_for_update(key_share=True))).scalar_one_or_none()


async def cancel_pending(
    session: AsyncSession, channel_id: uuid.UUID, now: datetime, *, except_to: Collection[str] | None = None
) -> int:
    """Give up what waits to be sent, but for tests; with `except_to`, only what goes to other recipients."""
    statement = update(NotificationDelivery).where(
        NotificationDelivery.channel_id == channel_id, _PENDING, NotificationDelivery.kind != DeliveryKind.TEST.value
    )
    if except_to is not None:
        statement = statement.where(NotificationDelivery.recipient.not_in(except_to))
    result: Any = await session.execute(
        statement.values(state=DeliveryState.CANCELLED.value, next_attempt_at=None, ended_at=now, body=None)
    )
    return int(result.rowcount)


async def list_deliveries(
    session: AsyncSession,
    channel_id: uuid.UUID,
    paging: PageRequest,
    *,
    order_by: str,
    states: Sequence[DeliveryState] = (),
) -> tuple[Sequence[Any], str | None]:
    """One page of a channel's delivery log."""
    statement = select(NotificationDelivery).where(NotificationDelivery.channel_id == channel_id)
    if states:
        statement = statement.where(NotificationDelivery.state.in_([state.value for state in states]))
    return await fetch_page(session, statement, choose_order(DELIVERY_ORDERS, order_by, within=channel_id), paging)


async def count_pending(session: AsyncSession) -> dict[str, int]:
    """Deliveries that wait, by kind of channel."""
    statement = (
        select(NotificationChannel.kind, func.count())
        .join(NotificationDelivery, NotificationDelivery.channel_id == NotificationChannel.id)
        .where(_PENDING)
        .group_by(NotificationChannel.kind)
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def delete_ended_before(session: AsyncSession, moment: datetime, batch: int) -> int:
    """Delete up to `batch` deliveries that ended before `moment`. Returns how many."""
    doomed = (
        select(NotificationDelivery.id)
        .where(NotificationDelivery.ended_at < moment)
        .order_by(NotificationDelivery.ended_at)
        .limit(batch)
    )
    result: Any = await session.execute(
        delete(NotificationDelivery).where(NotificationDelivery.id.in_(doomed.scalar_subquery()))
    )
    return int(result.rowcount)
