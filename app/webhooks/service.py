"""What can be done with webhooks. Their URLs were checked before the transaction began: that asks the network."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.core.errors import WebhookNotFound
from app.core.pagination import PageRequest
from app.core.preconditions import Precondition
from app.core.sealing import Sealer
from app.core.settings import Settings
from app.core.wire import Page, new_id, rfc3339
from app.events.service import record
from app.models import NotificationChannel, Vault
from app.notifications import channels, queries
from app.notifications import service as notifications
from app.notifications.schemas import DeliveryView, TestQueued
from app.vocabulary import ChannelKind, DeliveryState, EventType, Severity
from app.webhooks import signatures
from app.webhooks.schemas import SecretRotation, WebhookCreate, WebhookIssued, WebhookUpdate, WebhookView


async def _found(
    session: AsyncSession, principal: Principal, vault_ref: str, webhook_id: uuid.UUID, *, for_update: bool = False
) -> tuple[Vault, NotificationChannel]:
    vault = await vault_in_scope(session, principal, vault_ref)
    channel = await queries.find_channel(session, vault.id, ChannelKind.WEBHOOK, webhook_id, for_update=for_update)
    if channel is None:
        raise WebhookNotFound(f"vault '{vault.name}' has no webhook {webhook_id}")
    return vault, channel


async def create(
    session: AsyncSession,
    sealer: Sealer,
    principal: Principal,
    vault_ref: str,
    body: WebhookCreate,
    url: str,
    now: datetime,
) -> WebhookIssued:
    """Create a webhook to `url`, the checked form of the body's; its secret is in this answer alone.

    Raises SecretKeyUnavailable where this replica's key is not the one that other secrets are encrypted with.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    secret, channel_id = signatures.new_secret(), new_id()
    channel = NotificationChannel(
        id=channel_id,
        vault_id=vault.id,
        kind=ChannelKind.WEBHOOK.value,
        description=body.description,
        event_types=body.event_types,
        minimum_severity=body.minimum_severity.value,
        created_by=principal.actor,
        created_at=now,
        updated_at=now,
        is_enabled=True,
        url=url,
        secret=await _sealed(session, sealer, channel_id, secret),
        previous_secrets=[],
        recipients=[],
        revision=1,
    )
    await channels.add(session, channel, now)
    return _issued(channel, vault, secret, now)


async def _sealed(session: AsyncSession, sealer: Sealer, channel_id: uuid.UUID, secret: str) -> str:
    # Two keys in one database would make every replica fail on some webhook: said before it is done.
    other = await queries.newest_secret(session)
    if other is not None:
        sealer.require(other)
    return sealer.seal(channel_id, secret)


async def list_webhooks(
    session: AsyncSession, principal: Principal, vault_ref: str, paging: PageRequest, now: datetime
) -> Page[WebhookView]:
    """A vault's webhooks, oldest first."""
    vault = await vault_in_scope(session, principal, vault_ref)
    rows, cursor = await queries.list_channels(session, vault.id, ChannelKind.WEBHOOK, paging)
    return Page[WebhookView](items=[view_of(row.NotificationChannel, vault, now) for row in rows], next_cursor=cursor)


async def read(
    session: AsyncSession, principal: Principal, vault_ref: str, webhook_id: uuid.UUID, now: datetime
) -> WebhookView:
    """A webhook, without its secret."""
    vault, channel = await _found(session, principal, vault_ref, webhook_id)
    return view_of(channel, vault, now)


async def update(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    webhook_id: uuid.UUID,
    body: WebhookUpdate,
    url: str | None,
    precondition: Precondition,
    now: datetime,
) -> WebhookView:
    """Change what `body` names; `url` is the checked form of its URL. Raises PreconditionFailed."""
    vault, channel = await _found(session, principal, vault_ref, webhook_id, for_update=True)
    precondition.check(channel)
    changes = body.model_dump(exclude_unset=True, exclude_none=True, exclude={"url", "enabled"})
    if url is not None:
        changes["url"] = url
    if body.enabled is not None:
        changes["is_enabled"] = body.enabled
    await channels.change(session, channel, changes, principal.actor, now)
    return view_of(channel, vault, now)


async def delete(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    webhook_id: uuid.UUID,
    precondition: Precondition,
    now: datetime,
) -> None:
    """Delete a webhook with its delivery log; what waits to be sent is not sent any more."""
    _, channel = await _found(session, principal, vault_ref, webhook_id, for_update=True)
    precondition.check(channel)
    await channels.remove(session, channel, principal.actor, now)


async def rotate_secret(
    session: AsyncSession,
    sealer: Sealer,
    principal: Principal,
    vault_ref: str,
    webhook_id: uuid.UUID,
    body: SecretRotation,
    now: datetime,
) -> WebhookIssued:
    """Replace the secret. The old one signs beside the new one until its grace is over."""
    vault, channel = await _found(session, principal, vault_ref, webhook_id, for_update=True)
    assert channel.secret is not None, "a CHECK of the table"
    until = now + timedelta(seconds=body.grace_seconds)
    secret = signatures.new_secret()
    previous = channel.previous_secrets if body.grace_seconds else []
    channel.previous_secrets = signatures.with_previous(previous, channel.secret, until, now)
    channel.secret = sealer.seal(channel.id, secret)
    channel.revision += 1
    channel.updated_at = now
    record(
        session,
        vault.id,
        now,
        EventType.WEBHOOK_SECRET_ROTATED,
        channels.resource_of(channel),
        actor=principal.actor,
        message=f"{channels.noun_of(channel)} got a new secret",
        data={"previousSecretValidUntil": rfc3339(until)},
    )
    return _issued(channel, vault, secret, now)


async def list_deliveries(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    webhook_id: uuid.UUID,
    paging: PageRequest,
    order_by: str,
    states: Sequence[DeliveryState],
) -> Page[DeliveryView]:
    """The delivery log of a webhook."""
    _, channel = await _found(session, principal, vault_ref, webhook_id)
    return await notifications.list_deliveries(session, channel, paging, order_by, states)


async def queue_test(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    webhook_id: uuid.UUID,
    settings: Settings,
    now: datetime,
) -> TestQueued:
    """Queue a test delivery."""
    vault, channel = await _found(session, principal, vault_ref, webhook_id)
    return await notifications.queue_test(session, principal, vault, channel, settings, now)


def view_of(channel: NotificationChannel, vault: Vault, now: datetime) -> WebhookView:
    """The wire form of a row."""
    return WebhookView(
        id=channel.id,
        vault=vault.name,
        url=channel.url or "",
        description=channel.description,
        event_types=channel.event_types,
        minimum_severity=Severity(channel.minimum_severity),
        enabled=channel.is_enabled,
        disabled_at=channel.disabled_at,
        disabled_reason=channel.disabled_reason,
        failing_since=channel.failing_since,
        previous_secret_valid_until=signatures.previous_valid_until(channel.previous_secrets, now),
        last_sequence=channel.cursor,
        created_at=channel.created_at,
        created_by=channel.created_by,
        updated_at=channel.updated_at,
        revision=channel.revision,
    )


def _issued(channel: NotificationChannel, vault: Vault, secret: str, now: datetime) -> WebhookIssued:
    view = view_of(channel, vault, now)
    return WebhookIssued(**view.model_dump(by_alias=False), revision=view.revision, secret=secret)
