"""The hierarchy, access, events, releases."""

import uuid
from datetime import date

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
BIG_IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Unified Setup's releases as published (rollup number, month of release); 9.58 was withdrawn.
RELEASES = [
    ("0192f0c0-0000-7000-8000-000000000957", "9.57.6920.1", "Update rollup 70", date(2023, 12, 1), False),
    (
        "0192f0c0-0000-7000-8000-000000000959",
        "9.59.6930.1",
        "Update rollup 71 (classic only)",
        date(2024, 2, 1),
        False,
    ),
    ("0192f0c0-0000-7000-8000-000000000960", "9.60.6956.1", "Update rollup 72", date(2024, 2, 1), False),
    ("0192f0c0-0000-7000-8000-000000000961", "9.61.7016.1", "Update rollup 73", date(2024, 4, 1), False),
    ("0192f0c0-0000-7000-8000-000000000962", "9.62.7096.1", "Update rollup 74", date(2024, 7, 1), False),
]


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "event_counters",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("oldest_kept", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("vault_id", name=op.f("pk_event_counters")),
    )
    op.create_table(
        "events",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("resource_kind", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("resource_name", sa.String(length=63), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("message", sa.String(length=2000), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.CheckConstraint("severity IN ('Information', 'Warning', 'Critical')", name=op.f("ck_events_severity")),
        sa.PrimaryKeyConstraint("vault_id", "sequence", name=op.f("pk_events")),
    )
    op.create_index("ix_events_time", "events", ["time"], unique=False)
    op.create_index(
        "ix_events_vault_id_resource_id_sequence",
        "events",
        ["vault_id", "resource_id", "sequence"],
        unique=False,
    )
    op.create_index("ix_events_vault_id_type_sequence", "events", ["vault_id", "type", "sequence"], unique=False)

    op.create_table(
        "failed_registrations",
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("window_started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_failed_registrations")),
    )
    op.create_index(
        "ix_failed_registrations_window_started_at",
        "failed_registrations",
        ["window_started_at"],
        unique=False,
    )

    op.create_table(
        "idempotent_answers",
        sa.Column("id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotent_answers")),
    )
    op.create_index("ix_idempotent_answers_created_at", "idempotent_answers", ["created_at"], unique=False)

    op.create_table(
        "monitor_watermark",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("observed_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_monitor_watermark")),
    )
    op.create_table(
        "outages",
        sa.Column("id", BIG_IDENTITY, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outages")),
        sa.UniqueConstraint("started_at", name=op.f("uq_outages_started_at")),
    )
    op.create_index("ix_outages_ended_at", "outages", ["ended_at"], unique=False)

    op.create_table(
        "releases",
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("released_on", sa.Date(), nullable=True),
        sa.Column("is_withdrawn", sa.Boolean(), nullable=False),
        sa.Column("needs_security_update", sa.Boolean(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
        sa.UniqueConstraint("version", name=op.f("uq_releases_version")),
    )
    op.create_table(
        "tombstones",
        sa.Column("host_row_id", sa.Uuid(), nullable=False),
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("configuration_server_id", sa.Uuid(), nullable=False),
        sa.Column("resource_kind", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("host_id", sa.String(length=64), nullable=False),
        sa.Column("credential_hashes", JSON, nullable=False),
        sa.Column("purged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("purged_by", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "resource_kind IN ('vault', 'configuration-server', 'process-server', 'registration-key')",
            name=op.f("ck_tombstones_resource_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tombstones")),
        sa.UniqueConstraint("host_row_id", name=op.f("uq_tombstones_host_row_id")),
    )
    op.create_index("ix_tombstones_vault_id_host_id", "tombstones", ["vault_id", "host_id"], unique=False)

    op.create_table(
        "vaults",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("friendly_name", sa.String(length=255), nullable=False),
        sa.Column("location", sa.String(length=255), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vaults")),
        sa.UniqueConstraint("name", name=op.f("uq_vaults_name")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("vault_id", sa.Uuid(), nullable=True),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("role IN ('reader', 'operator', 'admin')", name=op.f("ck_api_tokens_role")),
        sa.ForeignKeyConstraint(["vault_id"], ["vaults.id"], name=op.f("fk_api_tokens_vault_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("name", name=op.f("uq_api_tokens_name")),
    )
    op.create_table(
        "hosts",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("host_id", sa.String(length=64), nullable=False),
        sa.Column("instance_id", sa.String(length=255), nullable=False),
        sa.Column("credential_hash", sa.LargeBinary(), nullable=True),
        sa.Column("boot_id", sa.String(length=64), nullable=True),
        sa.Column("previous_boot_id", sa.String(length=64), nullable=True),
        sa.Column("duplicate_noticed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("last_heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_heartbeat_bucket", sa.BigInteger(), nullable=False),
        sa.Column("connection_state", sa.String(length=16), nullable=False),
        sa.Column("connection_changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("health", sa.String(length=16), nullable=False),
        sa.Column("agent_version", sa.String(length=32), nullable=False),
        sa.Column("fqdn", sa.String(length=255), nullable=False),
        sa.Column("ip_addresses", JSON, nullable=False),
        sa.Column("os", JSON, nullable=False),
        sa.Column("hardware", JSON, nullable=False),
        sa.Column("telemetry", JSON, nullable=True),
        sa.Column("services", JSON, nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("observed_generation", sa.BigInteger(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("connection_state IN ('Connected', 'Disconnected')", name=op.f("ck_hosts_connection_state")),
        sa.CheckConstraint("health IN ('Healthy', 'Warning', 'Critical')", name=op.f("ck_hosts_health")),
        sa.ForeignKeyConstraint(["vault_id"], ["vaults.id"], name=op.f("fk_hosts_vault_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hosts")),
        sa.UniqueConstraint("vault_id", "host_id", name=op.f("uq_hosts_vault_id_host_id")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_hosts_silent_candidates",
        "hosts",
        ["last_heartbeat_bucket"],
        unique=False,
        postgresql_where=sa.text("connection_state = 'Connected'"),
        sqlite_where=sa.text("connection_state = 'Connected'"),
    )

    op.create_table(
        "registration_keys",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("use_count", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vault_id"], ["vaults.id"], name=op.f("fk_registration_keys_vault_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registration_keys")),
    )
    op.create_index("ix_registration_keys_vault_id_id", "registration_keys", ["vault_id", "id"], unique=False)

    op.create_table(
        "configuration_servers",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("host_row_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("friendly_name", sa.String(length=255), nullable=False),
        sa.Column("passphrase_hash", sa.String(length=255), nullable=False),
        sa.Column("passphrase_tag", sa.String(length=8), nullable=False),
        sa.Column("certificate_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["host_row_id"], ["hosts.id"], name=op.f("fk_configuration_servers_host_row_id")),
        sa.ForeignKeyConstraint(["vault_id"], ["vaults.id"], name=op.f("fk_configuration_servers_vault_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_configuration_servers")),
        sa.UniqueConstraint("host_row_id", name=op.f("uq_configuration_servers_host_row_id")),
        sa.UniqueConstraint("vault_id", "name", name=op.f("uq_configuration_servers_vault_id_name")),
    )
    op.create_index(
        "ix_configuration_servers_passphrase_tag", "configuration_servers", ["passphrase_tag"], unique=False
    )

    op.create_table(
        "issued_credentials",
        sa.Column("host_row_id", sa.Uuid(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["host_row_id"], ["hosts.id"], name=op.f("fk_issued_credentials_host_row_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issued_credentials")),
    )
    op.create_index(
        "ix_issued_credentials_host_row_id_secret_hash",
        "issued_credentials",
        ["host_row_id", "secret_hash"],
        unique=False,
    )

    op.create_table(
        "process_servers",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("configuration_server_id", sa.Uuid(), nullable=False),
        sa.Column("host_row_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("friendly_name", sa.String(length=255), nullable=False),
        sa.Column("data_transfer_port", sa.BigInteger(), nullable=False),
        sa.Column("is_drained", sa.Boolean(), nullable=False),
        sa.Column("maintenance_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("maintenance_reason", sa.String(length=2000), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('inbuilt', 'scaleOut', 'failback')", name=op.f("ck_process_servers_kind")),
        sa.CheckConstraint(
            "data_transfer_port BETWEEN 1 AND 65535", name=op.f("ck_process_servers_data_transfer_port")
        ),
        sa.ForeignKeyConstraint(
            ["configuration_server_id"],
            ["configuration_servers.id"],
            name=op.f("fk_process_servers_configuration_server_id"),
        ),
        sa.ForeignKeyConstraint(["host_row_id"], ["hosts.id"], name=op.f("fk_process_servers_host_row_id")),
        sa.ForeignKeyConstraint(["vault_id"], ["vaults.id"], name=op.f("fk_process_servers_vault_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_process_servers")),
        sa.UniqueConstraint(
            "configuration_server_id", "name", name=op.f("uq_process_servers_configuration_server_id_name")
        ),
        sa.UniqueConstraint("host_row_id", name=op.f("uq_process_servers_host_row_id")),
    )
    op.create_index("ix_process_servers_vault_id_id", "process_servers", ["vault_id", "id"], unique=False)
    op.create_index("ix_process_servers_vault_id_name_id", "process_servers", ["vault_id", "name", "id"], unique=False)

    op.create_table(
        "source_machines",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("configuration_server_id", sa.Uuid(), nullable=False),
        sa.Column("process_server_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("friendly_name", sa.String(length=255), nullable=False),
        sa.Column("churn_bytes_per_day", sa.BigInteger(), nullable=False),
        sa.Column("disks", JSON, nullable=False),
        sa.Column("os_type", sa.String(length=16), nullable=True),
        sa.Column("agent_version", sa.String(length=32), nullable=True),
        sa.Column("last_reboot_agent_version", sa.String(length=32), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("churn_bytes_per_day >= 0", name=op.f("ck_source_machines_churn_bytes_per_day")),
        sa.ForeignKeyConstraint(
            ["configuration_server_id"],
            ["configuration_servers.id"],
            name=op.f("fk_source_machines_configuration_server_id"),
        ),
        sa.ForeignKeyConstraint(
            ["process_server_id"], ["process_servers.id"], name=op.f("fk_source_machines_process_server_id")
        ),
        sa.ForeignKeyConstraint(["vault_id"], ["vaults.id"], name=op.f("fk_source_machines_vault_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_machines")),
        sa.UniqueConstraint(
            "configuration_server_id", "name", name=op.f("uq_source_machines_configuration_server_id_name")
        ),
    )
    op.create_index(
        "ix_source_machines_process_server_id_name",
        "source_machines",
        ["process_server_id", "name"],
        unique=False,
    )
    op.create_index("ix_source_machines_vault_id_id", "source_machines", ["vault_id", "id"], unique=False)
    op.bulk_insert(
        sa.table(
            "releases",
            sa.column("id", sa.Uuid()),
            sa.column("version", sa.String()),
            sa.column("name", sa.String()),
            sa.column("released_on", sa.Date()),
            sa.column("is_withdrawn", sa.Boolean()),
            sa.column("needs_security_update", sa.Boolean()),
        ),
        [
            {
                "id": uuid.UUID(identifier),
                "version": version,
                "name": name,
                "released_on": released_on,
                "is_withdrawn": is_withdrawn,
                "needs_security_update": False,
            }
            for identifier, version, name, released_on, is_withdrawn in RELEASES
        ],
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_source_machines_vault_id_id", table_name="source_machines")
    op.drop_index("ix_source_machines_process_server_id_name", table_name="source_machines")

    op.drop_table("source_machines")
    op.drop_index("ix_process_servers_vault_id_name_id", table_name="process_servers")
    op.drop_index("ix_process_servers_vault_id_id", table_name="process_servers")

    op.drop_table("process_servers")
    op.drop_index("ix_issued_credentials_host_row_id_secret_hash", table_name="issued_credentials")

    op.drop_table("issued_credentials")
    op.drop_index("ix_configuration_servers_passphrase_tag", table_name="configuration_servers")

    op.drop_table("configuration_servers")
    op.drop_index("ix_registration_keys_vault_id_id", table_name="registration_keys")

    op.drop_table("registration_keys")
    op.drop_index(
        "ix_hosts_silent_candidates",
        table_name="hosts",
        postgresql_where=sa.text("connection_state = 'Connected'"),
        sqlite_where=sa.text("connection_state = 'Connected'"),
    )

    op.drop_table("hosts")
    op.drop_table("api_tokens")
    op.drop_table("vaults")
    op.drop_index("ix_tombstones_vault_id_host_id", table_name="tombstones")

    op.drop_table("tombstones")
    op.drop_table("releases")
    op.drop_index("ix_outages_ended_at", table_name="outages")

    op.drop_table("outages")
    op.drop_table("monitor_watermark")
    op.drop_index("ix_idempotent_answers_created_at", table_name="idempotent_answers")

    op.drop_table("idempotent_answers")
    op.drop_index("ix_failed_registrations_window_started_at", table_name="failed_registrations")

    op.drop_table("failed_registrations")
    op.drop_index("ix_events_vault_id_type_sequence", table_name="events")
    op.drop_index("ix_events_vault_id_resource_id_sequence", table_name="events")
    op.drop_index("ix_events_time", table_name="events")

    op.drop_table("events")
    op.drop_table("event_counters")
