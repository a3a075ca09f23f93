"""What can be done with mail subscriptions."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.core.errors import MailNotConfigured, MailSubscriptionNotFound
from app.core.pagination import PageRequest
from app.core.preconditions import Precondition
from app.core.settings import Settings
from app.core.wire import Page, new_id
from app.mail_subscriptions.schemas import MailSubscriptionCreate, MailSubscriptionUpdate, MailSubscriptionView
from app.models import NotificationChannel, Vault
from app.notifications import channels, queries
from app.notifications import service as notifications
from app.notifications.schemas import DeliveryView, TestQueued
from app.vocabulary import ChannelKind, DeliveryState, Severity


async def _found(
    session: AsyncSession, principal: Principal, vault_ref: str, subscription_id: uuid.UUID, *, for_update: bool = False
) -> tuple[Vault, NotificationChannel]:
    vault = await vault_in_scope(session, principal, vault_ref)
    channel = await queries.find_channel(session, vault.id, ChannelKind.MAIL, subscription_id, for_update=for_update)
    if channel is None:
        raise MailSubscriptionNotFound(f"vault '{vault.name}' has no mail subscription {subscription_id}")
    return vault, channel


async def create(
    session: AsyncSession,
    settings: Settings,
    principal: Principal,
    vault_ref: str,
    body: MailSubscriptionCreate,
    now: datetime,
) -> MailSubscriptionView:
    """Create a mail subscription. Raises MailNotConfigured where there is no mail server to send with."""
    _require_mail(settings)
    vault = await vault_in_scope(session, principal, vault_ref)
    channel = NotificationChannel(
        id=new_id(),
        vault_id=vault.id,
        kind=ChannelKind.MAIL.value,
        description=body.description,
        event_types=body.event_types,
        minimum_severity=body.minimum_severity.value,
        created_by=principal.actor,
        created_at=now,
        updated_at=now,
        is_enabled=True,
        previous_secrets=[],
        recipients=body.recipients,
        revision=1,
    )
    await channels.add(session, channel, now)
    return view_of(channel, vault)


def _require_mail(settings: Settings) -> None:
    if not settings.smtp_host:
        raise MailNotConfigured("no mail can be sent: set MUSTER_SMTP_HOST and MUSTER_SMTP_FROM")


async def list_subscriptions(
    session: AsyncSession, principal: Principal, vault_ref: str, paging: PageRequest
) -> Page[MailSubscriptionView]:
    """A vault's mail subscriptions, oldest first."""
    vault = await vault_in_scope(session, principal, vault_ref)
    rows, cursor = await queries.list_channels(session, vault.id, ChannelKind.MAIL, paging)
    items = [view_of(row.NotificationChannel, vault) for row in rows]
    return Page[MailSubscriptionView](items=items, next_cursor=cursor)


async def read(
    session: AsyncSession, principal: Principal, vault_ref: str, subscription_id: uuid.UUID
) -> MailSubscriptionView:
    """A mail subscription."""
    vault, channel = await _found(session, principal, vault_ref, subscription_id)
    return view_of(channel, vault)


async def update(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    subscription_id: uuid.UUID,
    body: MailSubscriptionUpdate,
    precondition: Precondition,
    now: datetime,
) -> MailSubscriptionView:
    """Change what `body` names. Raises PreconditionFailed when the caller saw another revision."""
    vault, channel = await _found(session, principal, vault_ref, subscription_id, for_update=True)
    precondition.check(channel)
    changes = body.model_dump(exclude_unset=True, exclude_none=True, exclude={"enabled"})
    if body.enabled is not None:
        changes["is_enabled"] = body.enabled
    await channels.change(session, channel, changes, principal.actor, now)
    return view_of(channel, vault)


async def delete(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    subscription_id: uuid.UUID,
    precondition: Precondition,
    now: datetime,
) -> None:
    """Delete a mail subscription with its delivery log; what waits to be sent is not sent any more."""
    _, channel = await _found(session, principal, vault_ref, subscription_id, for_update=True)
    precondition.check(channel)
    await channels.remove(session, channel, principal.actor, now)


async def list_deliveries(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    subscription_id: uuid.UUID,
    paging: PageRequest,
    order_by: str,
    states: Sequence[DeliveryState],
) -> Page[DeliveryView]:
    """The delivery log of a mail subscription."""
    _, channel = await _found(session, principal, vault_ref, subscription_id)
    return await notifications.list_deliveries(session, channel, paging, order_by, states)


async def queue_test(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    subscription_id: uuid.UUID,
    settings: Settings,
    now: datetime,
) -> TestQueued:
    """Queue a test mail to each recipient. Raises MailNotConfigured where there is no mail server."""
    _require_mail(settings)
    vault, channel = await _found(session, principal, vault_ref, subscription_id)
    return await notifications.queue_test(session, principal, vault, channel, settings, now)


def view_of(channel: NotificationChannel, vault: Vault) -> MailSubscriptionView:
    """The wire form of a row."""
    return MailSubscriptionView(
        id=channel.id,
        vault=vault.name,
        recipients=channel.recipients,
        description=channel.description,
        event_types=channel.event_types,
        minimum_severity=Severity(channel.minimum_severity),
        enabled=channel.is_enabled,
        disabled_at=channel.disabled_at,
        disabled_reason=channel.disabled_reason,
        failing_since=channel.failing_since,
        last_sequence=channel.cursor,
        created_at=channel.created_at,
        created_by=channel.created_by,
        updated_at=channel.updated_at,
        revision=channel.revision,
    )
