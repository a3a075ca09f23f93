"""Use cases that webhooks and mail subscriptions share: the delivery log and the test delivery."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.core.pagination import PageRequest
from app.core.settings import Settings
from app.core.wire import Page
from app.models import NotificationChannel, Vault
from app.notifications import channels, messages, outbox, queries
from app.notifications.messages import Origin
from app.notifications.schemas import DeliveryView, TestQueued, view_of
from app.vocabulary import DeliveryState


async def list_deliveries(
    session: AsyncSession,
    channel: NotificationChannel,
    paging: PageRequest,
    order_by: str,
    states: Sequence[DeliveryState],
) -> Page[DeliveryView]:
    """One page of a channel's delivery log."""
    rows, cursor = await queries.list_deliveries(session, channel.id, paging, order_by=order_by, states=states)
    return Page[DeliveryView](items=[view_of(row.NotificationDelivery) for row in rows], next_cursor=cursor)


async def queue_test(
    session: AsyncSession,
    principal: Principal,
    vault: Vault,
    channel: NotificationChannel,
    settings: Settings,
    now: datetime,
) -> TestQueued:
    """Queue a test delivery to each receiver of the channel, also of a disabled one. It is tried once."""
    origin = Origin(vault.id, vault.name, (settings.public_url or "").rstrip("/"))
    kind = channels.resource_of(channel).kind
    message = messages.of_test(origin, kind, channel.id, principal.actor, now)
    deliveries = outbox.deliveries_of(channel, message, settings, now, is_retried=False)
    session.add_all(deliveries)
    await session.flush()
    return TestQueued(deliveries=[view_of(delivery) for delivery in deliveries])
