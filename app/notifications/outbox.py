"""From the event record to deliveries: a channel's cursor moves in the transaction that writes what it passed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.settings import Settings
from app.events import queries as event_queries
from app.models import Event, NotificationChannel, NotificationDelivery
from app.notifications import channels, messages, queries
from app.notifications.messages import Message, Origin, Site
from app.notifications.rules import Noted, is_window_over, storms
from app.vocabulary import ChannelKind, DeliveryState, Severity

EVENTS_PER_TRANSACTION = 1000


async def turn(
    session: AsyncSession, channel: NotificationChannel, vault: str, settings: Settings, now: datetime
) -> int | None:
    """Turn a channel's next events into deliveries, once their window is over. The channel is locked.

    Returns how many deliveries were written; None when there is nothing more to do for now.
    """
    await _note_missed(session, channel, now)
    events = await queries.events_after(session, channel.vault_id, channel.cursor, EVENTS_PER_TRANSACTION)
    if not events:
        return None
    wanted = [event for event in events if _is_wanted(channel, event)]
    if not wanted:
        channel.cursor = events[-1].sequence
        return 0
    sites = await queries.sites_of(session, channel.vault_id, wanted)
    noted = [Noted(event.sequence, event.time, event.type, sites.get(event.resource_id)) for event in wanted]
    groups = storms(noted, settings.digest_threshold)
    is_full = len(events) == EVENTS_PER_TRANSACTION
    window = timedelta(seconds=settings.digest_window_seconds)
    if not is_full and not is_window_over(noted, [event for group in groups for event in group], now, window):
        channel.cursor = wanted[0].sequence - 1
        return None
    origin = Origin(channel.vault_id, vault, (settings.public_url or "").rstrip("/"))
    told = await _messages(session, origin, wanted, groups)
    deliveries = [row for message in told for row in deliveries_of(channel, message, settings, now)]
    session.add_all(deliveries)
    channel.cursor = events[-1].sequence
    return len(deliveries)


def deliveries_of(
    channel: NotificationChannel, message: Message, settings: Settings, now: datetime, *, is_retried: bool = True
) -> list[NotificationDelivery]:
    """A message as deliveries to the channel's receivers: each mail address is tried and retried on its own."""
    retried = timedelta(hours=settings.delivery_retry_hours) if is_retried else timedelta(0)
    return [
        NotificationDelivery(
            channel_id=channel.id,
            message_id=message.id,
            recipient=recipient,
            kind=message.kind.value,
            event_type=message.event_type,
            severity=message.severity.value,
            first_sequence=message.first_sequence,
            last_sequence=message.last_sequence,
            body=message.body,
            state=DeliveryState.PENDING.value,
            attempts=0,
            created_at=now,
            deadline_at=now + retried,
            next_attempt_at=now,
        )
        for recipient in (channel.recipients if channel.kind == ChannelKind.MAIL.value else [""])
    ]


def _is_wanted(channel: NotificationChannel, event: Event) -> bool:
    # Alerts of a server in maintenance are recorded, and nobody is woken by them.
    return event.data.get("muted") is not True and channels.filter_of(channel).wants(
        event.type, Severity(event.severity)
    )


async def _messages(
    session: AsyncSession, origin: Origin, events: Sequence[Event], groups: list[list[Noted]]
) -> list[Message]:
    """Every event in one message, alone or in a digest; in the order in which each message's events began."""
    by_number = {event.sequence: event for event in events}
    told: list[tuple[int, Message]] = []
    for group in groups:
        site_id = group[0].site
        assert site_id is not None, "only events of a site become a digest"
        site = Site(site_id, await queries.site_name(session, origin.vault_id, site_id))
        members = [by_number.pop(noted.sequence) for noted in group]
        told.append((members[0].sequence, messages.of_storm(origin, site, members)))
    told.extend((number, messages.of_event(origin, event)) for number, event in by_number.items())
    return [message for _, message in sorted(told, key=lambda entry: entry[0])]


async def _note_missed(session: AsyncSession, channel: NotificationChannel, now: datetime) -> None:
    """Where retention has overtaken the cursor, put it on record and go on with what there is."""
    _, oldest_kept = await event_queries.counter(session, channel.vault_id)
    if channel.cursor + 1 < oldest_kept:
        channels.note_missed(session, channel, channel.cursor + 1, oldest_kept - 1, now)
        channel.cursor = oldest_kept - 1
