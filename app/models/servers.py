"""The hierarchy: vault > configuration servers > process servers > source machines, and the hosts they run on."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, validates

from app.models.base import NAME_LENGTH, Base, Identified, Revised, one_of, short_string
from app.vocabulary import DEFAULT_DATA_TRANSFER_PORT, ConnectionState, Health, ServerKind


class Vault(Identified, Revised, Base):
    """A Recovery Services vault: the top of the tree."""

    __tablename__ = "vaults"

    name: Mapped[str] = mapped_column(short_string(NAME_LENGTH), unique=True)
    friendly_name: Mapped[str] = mapped_column(short_string())
    location: Mapped[str] = mapped_column(short_string())


class Host(Identified, Base):
    """What an agent is. The one row that each heartbeat updates.

    No index on anything a heartbeat changes, but for `last_heartbeat_bucket` (five-minute steps), so that on
    PostgreSQL nine of ten updates stay heap-only; fillfactor leaves them room on their page.
    """

    __tablename__ = "hosts"

    vault_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("vaults.id"))
    host_id: Mapped[str] = mapped_column(short_string(64))
    """Chosen by the machine and kept by it: registering again with it is the same machine."""
    instance_id: Mapped[str] = mapped_column(short_string())
    """Machine id or BIOS UUID: differs where a disk with a host id was cloned."""
    credential_hash: Mapped[bytes | None]
    boot_id: Mapped[str | None] = mapped_column(short_string(64))
    previous_boot_id: Mapped[str | None] = mapped_column(short_string(64))
    duplicate_noticed_at: Mapped[datetime | None]
    sequence: Mapped[int] = mapped_column(default=0)
    last_heartbeat_at: Mapped[datetime | None]
    last_heartbeat_bucket: Mapped[int] = mapped_column(default=0)
    connection_state: Mapped[str] = mapped_column(short_string(16), default=ConnectionState.DISCONNECTED.value)
    connection_changed_at: Mapped[datetime]
    brake_id: Mapped[uuid.UUID | None]
    """The brake that holds it, or held it last; it means something only while the state is `Unknown`."""
    health: Mapped[str] = mapped_column(short_string(16), default=Health.CRITICAL.value)
    agent_version: Mapped[str] = mapped_column(short_string(32))
    version_above_since: Mapped[datetime | None]
    """Since when its process server's version is above the configuration server's; NULL while it is not."""
    fqdn: Mapped[str] = mapped_column(short_string())
    ip_addresses: Mapped[list[str]]
    os: Mapped[dict[str, Any]]
    hardware: Mapped[dict[str, Any]]
    cpu_percentage: Mapped[float | None]
    total_memory_bytes: Mapped[int | None]
    available_memory_bytes: Mapped[int | None]
    total_space_bytes: Mapped[int | None]
    available_space_bytes: Mapped[int | None]
    throughput_bytes: Mapped[int | None]
    """Bytes per second uploaded."""
    pending_bytes: Mapped[int | None]
    services: Mapped[dict[str, Any] | None]
    generation: Mapped[int] = mapped_column(default=1)
    """Rises with each change of the desired state; the agent answers with the one it has observed."""
    observed_generation: Mapped[int] = mapped_column(default=0)
    registered_at: Mapped[datetime]
    heartbeat_key: Mapped[bytes | None]
    """Digest of what the last heartbeat said of everything but numbers, and of the credential it came with: one
    comparison tells that nothing of it changed. NULL: the next heartbeat is looked at in full."""
    conditions: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    """Since when each condition of `health.rules` holds, and whether it fires. Written when one changes."""
    alert_due_at: Mapped[datetime | None]
    """When the first of the conditions that hold will have held for its window; NULL when none waits for that."""
    quiet_cpu_low: Mapped[float | None]
    """Nothing about a host's conditions changes while each reading stays in its quiet range: above `low`, at most
    `high`. NULL: the next heartbeat is judged in full. So a heartbeat costs a few comparisons and no history."""
    quiet_cpu_high: Mapped[float | None]
    quiet_memory_low: Mapped[float | None]
    quiet_memory_high: Mapped[float | None]
    quiet_space_low: Mapped[float | None]
    quiet_space_high: Mapped[float | None]
    quiet_upload_low: Mapped[float | None]
    quiet_upload_high: Mapped[float | None]
    quiet_skew_low: Mapped[float | None]
    quiet_skew_high: Mapped[float | None]

    __table_args__ = (
        UniqueConstraint("vault_id", "host_id"),
        one_of("connection_state", ConnectionState),
        one_of("health", Health),
        Index(
            "ix_hosts_silent_candidates",
            "last_heartbeat_bucket",
            postgresql_where=text("connection_state = 'Connected'"),
            sqlite_where=text("connection_state = 'Connected'"),
        ),
        Index(
            "ix_hosts_held",
            "brake_id",
            postgresql_where=text("connection_state = 'Unknown'"),
            sqlite_where=text("connection_state = 'Unknown'"),
        ),
        Index(
            "ix_hosts_alert_due_at",
            "alert_due_at",
            postgresql_where=text("alert_due_at IS NOT NULL"),
            sqlite_where=text("alert_due_at IS NOT NULL"),
        ),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    @validates(
        "credential_hash",
        "boot_id",
        "connection_state",
        "agent_version",
        "ip_addresses",
        "services",
        "observed_generation",
    )
    def _forget_key(self, _name: str, value: Any) -> Any:
        # The key stands for these; whoever changes one need not know of it.
        self.heartbeat_key = None
        return value


class ConfigurationServer(Identified, Revised, Base):
    """Coordinates one site; always brings an inbuilt process server."""

    __tablename__ = "configuration_servers"

    vault_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("vaults.id"))
    host_row_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("hosts.id"), unique=True)
    name: Mapped[str] = mapped_column(short_string(NAME_LENGTH))
    friendly_name: Mapped[str] = mapped_column(short_string())
    passphrase_hash: Mapped[str] = mapped_column(short_string())
    passphrase_tag: Mapped[str] = mapped_column(short_string(8))
    """The public head of the passphrase: finds the server among sites with the same private address."""
    certificate_expires_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("vault_id", "name"), Index(None, "passphrase_tag"))


class ProcessServer(Identified, Revised, Base):
    """Receives, caches and uploads the replication data of source machines."""

    __tablename__ = "process_servers"

    vault_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("vaults.id"))
    configuration_server_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("configuration_servers.id"))
    host_row_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("hosts.id"), unique=True)
    kind: Mapped[str] = mapped_column(short_string(16))
    name: Mapped[str] = mapped_column(short_string(NAME_LENGTH))
    friendly_name: Mapped[str] = mapped_column(short_string())
    data_transfer_port: Mapped[int] = mapped_column(default=DEFAULT_DATA_TRANSFER_PORT)
    is_drained: Mapped[bool] = mapped_column(default=False)
    """Policy: takes no new machines and its alerts are muted until `maintenance_until`."""
    maintenance_until: Mapped[datetime | None]
    maintenance_reason: Mapped[str | None] = mapped_column(short_string(2000))
    takeover_until: Mapped[datetime | None]
    """Until then a rebuilt machine (same name, new host id) may register and take this server's place."""
    takeover_host_id: Mapped[str | None] = mapped_column(short_string(64))
    """The only host id the approval is for; NULL for any."""

    __table_args__ = (
        UniqueConstraint("configuration_server_id", "name"),
        one_of("kind", ServerKind),
        CheckConstraint("data_transfer_port BETWEEN 1 AND 65535", name="data_transfer_port"),
        Index(None, "vault_id", "name", "id"),
        Index(None, "vault_id", "id"),
        Index(
            "ix_process_servers_drained",
            "maintenance_until",
            postgresql_where=text("is_drained"),
            sqlite_where=text("is_drained"),
        ),
    )


class SourceMachine(Identified, Revised, Base):
    """A protected machine; it uses exactly one process server at a time."""

    __tablename__ = "source_machines"

    vault_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("vaults.id"))
    configuration_server_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("configuration_servers.id"))
    process_server_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("process_servers.id"))
    name: Mapped[str] = mapped_column(short_string(NAME_LENGTH))
    friendly_name: Mapped[str] = mapped_column(short_string())
    churn_bytes_per_day: Mapped[int]
    disks: Mapped[list[dict[str, Any]]]
    os_type: Mapped[str | None] = mapped_column(short_string(16))
    agent_version: Mapped[str | None] = mapped_column(short_string(32))
    last_reboot_agent_version: Mapped[str | None] = mapped_column(short_string(32))

    __table_args__ = (
        UniqueConstraint("configuration_server_id", "name"),
        CheckConstraint("churn_bytes_per_day >= 0", name="churn_bytes_per_day"),
        Index(None, "process_server_id", "name"),
        Index(None, "vault_id", "id"),
        Index(None, "vault_id", "name", "id"),
        Index(None, "vault_id", "churn_bytes_per_day", "id"),
        Index(None, "vault_id", "os_type", "name", "id"),
        Index(None, "vault_id", "agent_version", "name", "id"),
        Index(None, "configuration_server_id", "id"),
        # The conventional name would be too long for PostgreSQL.
        Index("ix_source_machines_of_site_by_churn", "configuration_server_id", "churn_bytes_per_day", "id"),
    )
