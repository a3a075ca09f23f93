"""What happened, what was removed, and how far silence has been observed."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import NAME_LENGTH, Base, BigIdentity, Identified, one_of, short_string
from app.vocabulary import JobState, JobType, ResourceKind, Severity

# Events speak of every kind. A further kind needs no migration of these tables until it has jobs or tombstones.
_KINDS_OF_JOBS_AND_TOMBSTONES = (
    ResourceKind.VAULT,
    ResourceKind.CONFIGURATION_SERVER,
    ResourceKind.PROCESS_SERVER,
    ResourceKind.REGISTRATION_KEY,
    ResourceKind.SOURCE_MACHINE,
    ResourceKind.JOB,
)


class EventCounter(Base):
    """The last event number of a vault. Locked from numbering to commit, so numbers appear in commit order."""

    __tablename__ = "event_counters"

    vault_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    last_sequence: Mapped[int] = mapped_column(default=0)
    oldest_kept: Mapped[int] = mapped_column(default=1)
    """Numbers below this were deleted when their retention ended."""


class Event(Base):
    """One fact. Append-only; no foreign keys, since it outlives what it speaks of."""

    __tablename__ = "events"

    vault_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[datetime]
    type: Mapped[str] = mapped_column(short_string(64))
    severity: Mapped[str] = mapped_column(short_string(16))
    resource_kind: Mapped[str] = mapped_column(short_string(32))
    resource_id: Mapped[uuid.UUID]
    resource_name: Mapped[str] = mapped_column(short_string(NAME_LENGTH))
    actor: Mapped[str] = mapped_column(short_string())
    message: Mapped[str] = mapped_column(short_string(2000))
    data: Mapped[dict[str, Any]]

    __table_args__ = (
        one_of("severity", Severity),
        Index(None, "vault_id", "resource_id", "sequence"),
        Index(None, "vault_id", "type", "sequence"),
        Index(None, "time"),
    )


class Tombstone(Identified, Base):
    """A removed server's host. Its agent gets 410 with when, by whom and why."""

    __tablename__ = "tombstones"

    host_row_id: Mapped[uuid.UUID] = mapped_column(unique=True)
    vault_id: Mapped[uuid.UUID]
    configuration_server_id: Mapped[uuid.UUID]
    resource_kind: Mapped[str] = mapped_column(short_string(32))
    resource_id: Mapped[uuid.UUID]
    name: Mapped[str] = mapped_column(short_string(NAME_LENGTH))
    host_id: Mapped[str] = mapped_column(short_string(64))
    credential_hashes: Mapped[list[str]]
    """Hex digests of the credentials that were valid; only their holders are told."""
    purged_at: Mapped[datetime]
    purged_by: Mapped[str] = mapped_column(short_string())
    reason: Mapped[str] = mapped_column(short_string(2000))
    ip_addresses: Mapped[list[str]] = mapped_column(default=list)
    blocks_registration: Mapped[bool] = mapped_column(default=False)
    """A purged machine stays out until it is readmitted; one that left in good order may come back."""
    readmitted_at: Mapped[datetime | None]
    readmitted_by: Mapped[str | None] = mapped_column(short_string())

    __table_args__ = (one_of("resource_kind", _KINDS_OF_JOBS_AND_TOMBSTONES), Index(None, "vault_id", "host_id"))


class Job(Identified, Base):
    """A long-running operation: who asked, how far it is, how it ended. It lives here, so it outlives a restart."""

    __tablename__ = "jobs"

    vault_id: Mapped[uuid.UUID]
    type: Mapped[str] = mapped_column(short_string(32))
    state: Mapped[str] = mapped_column(short_string(16))
    progress_percentage: Mapped[int] = mapped_column(default=0)
    resource_kind: Mapped[str] = mapped_column(short_string(32))
    resource_id: Mapped[uuid.UUID]
    resource_name: Mapped[str] = mapped_column(short_string(NAME_LENGTH))
    target: Mapped[str | None] = mapped_column(short_string(NAME_LENGTH))
    """Name of the process server that machines go to, where the operation has one."""
    requested_by: Mapped[str] = mapped_column(short_string())
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None]
    details: Mapped[dict[str, Any]]

    __table_args__ = (
        one_of("type", JobType),
        one_of("state", JobState),
        one_of("resource_kind", _KINDS_OF_JOBS_AND_TOMBSTONES),
        Index(None, "vault_id", "id"),
        Index(None, "resource_id", "state"),
        Index(
            "ix_jobs_open",
            "type",
            "id",
            postgresql_where=text("ended_at IS NULL"),
            sqlite_where=text("ended_at IS NULL"),
        ),
    )


class JobWait(Base):
    """An agent that has yet to observe what a job did, or asks of it. The job ends with its last row."""

    __tablename__ = "job_waits"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    host_row_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """No foreign key: a server may be removed while it is waited for, and the job then fails."""
    generation: Mapped[int]
    """Of the host's desired state: observed is this one or a later one."""

    __table_args__ = (Index(None, "host_row_id"),)


class MonitorWatermark(Base):
    """One row: until when silence has been observed without a gap."""

    __tablename__ = "monitor_watermark"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    observed_until: Mapped[datetime]


class Outage(Base):
    """A stretch in which the control plane observed nothing: it counts for nobody's silence."""

    __tablename__ = "outages"

    id: Mapped[int] = mapped_column(BigIdentity, primary_key=True)
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("started_at"), Index(None, "ended_at"))
