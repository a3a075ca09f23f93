"""Who is told of events, what is under way to them, and which expiry notices were given."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Identified, Revised, one_of, short_string
from app.vocabulary import ChannelKind, Component, DeliveryKind, DeliveryState, Severity

MAX_URL_LENGTH = 2000
MAX_ADDRESS_LENGTH = 254


class NotificationChannel(Identified, Revised, Base):
    """A webhook or a mail subscription of a vault.

    `cursor` is the outbox: the number of the last event that was turned into deliveries. It moves in the
    transaction that writes them, so no event is lost or turned twice, whoever dies when.
    """

    __tablename__ = "notification_channels"

    vault_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("vaults.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(short_string(16))
    description: Mapped[str] = mapped_column(short_string())
    event_types: Mapped[list[str]]
    """Types and prefixes that end in `.`; empty for all."""
    minimum_severity: Mapped[str] = mapped_column(short_string(16))
    created_by: Mapped[str] = mapped_column(short_string())
    is_enabled: Mapped[bool] = mapped_column(default=True)
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None] = mapped_column(short_string(2000))
    cursor: Mapped[int]
    failing_since: Mapped[datetime | None]
    """The first failed attempt since the last one that succeeded; NULL while all is well."""
    url: Mapped[str | None] = mapped_column(short_string(MAX_URL_LENGTH))
    secret: Mapped[str | None] = mapped_column(short_string(600))
    """Sealed by `core.sealing`: it signs, so its hash would not do."""
    previous_secrets: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """Sealed secrets that a rotation replaced, each with the time until which it signs beside the new one."""
    recipients: Mapped[list[str]] = mapped_column(default=list)

    __table_args__ = (
        one_of("kind", ChannelKind),
        one_of("minimum_severity", Severity),
        CheckConstraint("kind <> 'webhook' OR (url IS NOT NULL AND secret IS NOT NULL)", name="target"),
        Index(None, "vault_id", "kind", "id"),
    )


class NotificationDelivery(Identified, Base):
    """One message to one receiver: until it is final a work order, then an entry of the delivery log."""

    __tablename__ = "notification_deliveries"

    channel_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("notification_channels.id", ondelete="CASCADE"))
    message_id: Mapped[str] = mapped_column(short_string(128))
    """The same at each attempt and for each receiver, so that they can drop repeats."""
    recipient: Mapped[str] = mapped_column(short_string(MAX_ADDRESS_LENGTH), default="")
    """Mail address; empty for webhooks."""
    kind: Mapped[str] = mapped_column(short_string(16))
    event_type: Mapped[str] = mapped_column(short_string(64))
    severity: Mapped[str] = mapped_column(short_string(16))
    first_sequence: Mapped[int | None]
    last_sequence: Mapped[int | None]
    body: Mapped[str | None] = mapped_column(Text())
    """The CloudEvent as it is sent; NULL once the delivery is final."""
    state: Mapped[str] = mapped_column(short_string(16), default=DeliveryState.PENDING.value)
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    deadline_at: Mapped[datetime]
    """After this it is not tried again."""
    next_attempt_at: Mapped[datetime | None]
    """When it is due; while a sender works on it, when it is due again should that sender die."""
    last_attempt_at: Mapped[datetime | None]
    last_status: Mapped[int | None]
    """HTTP status or SMTP reply code of the last attempt; NULL when there was no answer."""
    last_error: Mapped[str | None] = mapped_column(short_string(500))
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("channel_id", "message_id", "recipient"),
        one_of("kind", DeliveryKind),
        one_of("severity", Severity),
        one_of("state", DeliveryState),
        Index(None, "channel_id", "id"),
        Index(
            "ix_notification_deliveries_due",
            "channel_id",
            "next_attempt_at",
            postgresql_where=text("state = 'Pending'"),
            sqlite_where=text("state = 'Pending'"),
        ),
        Index(None, "ended_at"),
    )


class ExpiryNotice(Base):
    """The last notice given of something that expires on a server. A new expiry time starts a new calendar."""

    __tablename__ = "expiry_notices"

    resource_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    component: Mapped[str] = mapped_column(short_string(16), primary_key=True)
    expires_at: Mapped[datetime]
    due_at: Mapped[datetime]
    """The date of the calendar that the notice was given for, at that time or, after an outage, later."""

    __table_args__ = (one_of("component", Component),)
