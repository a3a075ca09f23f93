"""What webhooks and mail subscriptions have in common: names, filters, creation, change, end."""

from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic.alias_generators import to_camel
from sqlalchemy.ext.asyncio import AsyncSession

from app.events import queries as event_queries
from app.events.service import MONITOR, Resource, record
from app.models import NotificationChannel
from app.models.base import NAME_LENGTH
from app.notifications import queries
from app.notifications.rules import Filter
from app.vocabulary import ChannelKind, EventType, ResourceKind, Severity


class _Words(NamedTuple):
    """How the record speaks of a kind of channel."""

    kind: ResourceKind
    created: EventType
    updated: EventType
    deleted: EventType
    disabled: EventType
    events_missed: EventType


_WORDS = {
    ChannelKind.WEBHOOK: _Words(
        ResourceKind.WEBHOOK,
        EventType.WEBHOOK_CREATED,
        EventType.WEBHOOK_UPDATED,
        EventType.WEBHOOK_DELETED,
        EventType.WEBHOOK_DISABLED,
        EventType.WEBHOOK_EVENTS_MISSED,
    ),
    ChannelKind.MAIL: _Words(
        ResourceKind.MAIL_SUBSCRIPTION,
        EventType.MAIL_SUBSCRIPTION_CREATED,
        EventType.MAIL_SUBSCRIPTION_UPDATED,
        EventType.MAIL_SUBSCRIPTION_DELETED,
        EventType.MAIL_SUBSCRIPTION_DISABLED,
        EventType.MAIL_SUBSCRIPTION_EVENTS_MISSED,
    ),
}


def filter_of(channel: NotificationChannel) -> Filter:
    """What the channel wants."""
    return Filter(channel.event_types, Severity(channel.minimum_severity))


def resource_of(channel: NotificationChannel) -> Resource:
    """How events name a channel: a webhook by its host, for the rest of an address may hold a secret."""
    return Resource(_words(channel).kind, channel.id, _name(channel))


def noun_of(channel: NotificationChannel) -> str:
    """How messages speak of a channel."""
    if channel.kind == ChannelKind.WEBHOOK.value:
        return f"the webhook to {_name(channel)}"
    return f"the mail subscription {channel.id}"


def _name(channel: NotificationChannel) -> str:
    host = urlsplit(channel.url).hostname if channel.url else None
    return (host or str(channel.id))[:NAME_LENGTH]


def _words(channel: NotificationChannel) -> _Words:
    return _WORDS[ChannelKind(channel.kind)]


async def add(session: AsyncSession, channel: NotificationChannel, now: datetime) -> None:
    """Create a channel. It is told of the events from now on, the one of its own creation among them."""
    channel.cursor, _ = await event_queries.counter(session, channel.vault_id)
    session.add(channel)
    _record(
        session,
        channel,
        now,
        _words(channel).created,
        channel.created_by,
        f"{noun_of(channel)} was created",
        {"eventTypes": channel.event_types, "minimumSeverity": channel.minimum_severity},
    )


async def change(
    session: AsyncSession, channel: NotificationChannel, changes: dict[str, Any], actor: str, now: datetime
) -> None:
    """Apply what differs, and note it. The channel is locked.

    Disabling gives up what waits to be sent. Enabling begins with the events from now on: what happened meanwhile
    is in the event list.
    """
    changed = {field: value for field, value in changes.items() if getattr(channel, field) != value}
    if not changed:
        return
    for field, value in changed.items():
        setattr(channel, field, value)
    if changed.get("is_enabled") is False:
        channel.disabled_at, channel.disabled_reason = now, f"disabled by {actor}"
        await queries.cancel_pending(session, channel.id, now)
    elif changed.get("is_enabled"):
        channel.disabled_at = channel.disabled_reason = None
        channel.cursor, _ = await event_queries.counter(session, channel.vault_id)
    if changed.keys() & {"is_enabled", "url", "recipients"}:
        channel.failing_since = None
    if "recipients" in changed:
        await queries.cancel_pending(session, channel.id, now, except_to=channel.recipients)
    channel.revision += 1
    channel.updated_at = now
    told = {_told_as(field): _shown(channel, field, value) for field, value in changed.items()}
    _record(session, channel, now, _words(channel).updated, actor, f"{noun_of(channel)} was changed", told)


def _told_as(field: str) -> str:
    return "enabled" if field == "is_enabled" else to_camel(field)


def _shown(channel: NotificationChannel, field: str, value: Any) -> Any:
    if field == "url":
        return _name(channel)
    return len(value) if field == "recipients" else value


async def remove(session: AsyncSession, channel: NotificationChannel, actor: str, now: datetime) -> None:
    """Delete a channel and its deliveries, the waiting ones too."""
    await session.delete(channel)
    _record(session, channel, now, _words(channel).deleted, actor, f"{noun_of(channel)} was deleted", {})


async def disable(session: AsyncSession, channel: NotificationChannel, reason: str, now: datetime) -> None:
    """Disable a channel that nobody receives any more. It is locked. An operator enables it again."""
    if not channel.is_enabled:
        return
    channel.is_enabled = False
    channel.disabled_at, channel.disabled_reason = now, reason
    channel.revision += 1
    channel.updated_at = now
    await queries.cancel_pending(session, channel.id, now)
    _record(
        session,
        channel,
        now,
        _words(channel).disabled,
        MONITOR,
        f"{noun_of(channel)} was disabled: {reason}",
        {"reason": reason},
        Severity.WARNING,
    )


def note_missed(session: AsyncSession, channel: NotificationChannel, first: int, last: int, now: datetime) -> None:
    """Put on record that events ended with their retention before the channel got them."""
    _record(
        session,
        channel,
        now,
        _words(channel).events_missed,
        MONITOR,
        f"events {first} to {last} ended with their retention before {noun_of(channel)} could get them",
        {"firstSequence": first, "lastSequence": last},
        Severity.WARNING,
    )


def _record(
    session: AsyncSession,
    channel: NotificationChannel,
    now: datetime,
    event_type: EventType,
    actor: str,
    message: str,
    data: dict[str, Any],
    severity: Severity = Severity.INFORMATION,
) -> None:
    record(
        session,
        channel.vault_id,
        now,
        event_type,
        resource_of(channel),
        actor=actor,
        message=message,
        severity=severity,
        data=data,
    )
