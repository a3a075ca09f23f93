"""Alerts, firing and past, and what a vault changes of the rules."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import NAME_LENGTH, Base, Identified, Revised, one_of, short_string
from app.vocabulary import Severity

_OPEN: dict[str, Any] = {"postgresql_where": text("cleared_at IS NULL"), "sqlite_where": text("cleared_at IS NULL")}


class Alert(Identified, Base):
    """A condition that fires, or fired, on one server: one open row for a code and server, whatever its severity.

    No foreign keys: past alerts outlive their servers until their retention ends.
    """

    __tablename__ = "alerts"

    vault_id: Mapped[uuid.UUID]
    configuration_server_id: Mapped[uuid.UUID]
    """The site: the configuration server itself, or the one its process server belongs to."""
    host_row_id: Mapped[uuid.UUID]
    resource_kind: Mapped[str] = mapped_column(short_string(32))
    resource_id: Mapped[uuid.UUID]
    resource_name: Mapped[str] = mapped_column(short_string(NAME_LENGTH))
    code: Mapped[str] = mapped_column(short_string(64))
    severity: Mapped[str] = mapped_column(short_string(16))
    since: Mapped[datetime | None]
    """When the condition began; NULL where a server has never sent a heartbeat."""
    raised_at: Mapped[datetime]
    cleared_at: Mapped[datetime | None]
    value: Mapped[float | None]
    """When it was raised, or when its severity changed last; in the unit of its rule."""
    threshold: Mapped[float | None]
    message: Mapped[str] = mapped_column(short_string(2000))
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What its texts name: services, versions, times."""

    __table_args__ = (
        one_of("severity", Severity),
        Index("uq_alerts_open", "resource_id", "code", unique=True, **_OPEN),
        Index("ix_alerts_open_host_row_id", "host_row_id", **_OPEN),
        Index("ix_alerts_open_configuration_server_id", "configuration_server_id", "severity", **_OPEN),
        Index("ix_alerts_open_vault_id", "vault_id", "severity", **_OPEN),
        Index("ix_alerts_open_code", "code", **_OPEN),
        Index(None, "vault_id", "id"),
        Index(None, "configuration_server_id", "id"),
        Index(None, "resource_id", "id"),
        Index(None, "cleared_at"),
    )


class HealthPolicy(Revised, Base):
    """What a vault changes of the rules' windows and thresholds; without a row the defaults hold."""

    __tablename__ = "health_policies"

    id: Mapped[uuid.UUID] = mapped_column(ForeignKey("vaults.id", ondelete="CASCADE"), primary_key=True)
    """The vault's."""
    window_seconds: Mapped[float | None]
    rules: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """By code, the members that differ from the defaults, as the API names them."""
