"""Webhooks and mail subscriptions with their outbox; expiry notices."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
SEVERITIES = ("Information", "Warning", "Critical")


def one_of(column: str, values: tuple[str, ...]) -> str:
    """The condition of an enum column."""
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "notification_channels",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("event_types", JSON, nullable=False),
        sa.Column("minimum_severity", sa.String(length=16), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.String(length=2000), nullable=True),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("url", sa.String(length=2000), nullable=True),
        sa.Column("secret", sa.String(length=600), nullable=True),
        sa.Column("previous_secrets", JSON, nullable=False),
        sa.Column("recipients", JSON, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(one_of("kind", ("webhook", "mail")), name=op.f("ck_notification_channels_kind")),
        sa.CheckConstraint(
            one_of("minimum_severity", SEVERITIES), name=op.f("ck_notification_channels_minimum_severity")
        ),
        sa.CheckConstraint(
            "kind <> 'webhook' OR (url IS NOT NULL AND secret IS NOT NULL)",
            name=op.f("ck_notification_channels_target"),
        ),
        sa.ForeignKeyConstraint(
            ["vault_id"], ["vaults.id"], name=op.f("fk_notification_channels_vault_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification_channels")),
    )
    op.create_index(
        op.f("ix_notification_channels_vault_id_kind_id"), "notification_channels", ["vault_id", "kind", "id"]
    )
    op.create_table(
        "notification_deliveries",
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.Column("recipient", sa.String(length=254), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("event_type", sa.String(length=64), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("first_sequence", sa.BigInteger(), nullable=True),
        sa.Column("last_sequence", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_status", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.String(length=500), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(one_of("kind", ("event", "digest", "test")), name=op.f("ck_notification_deliveries_kind")),
        sa.CheckConstraint(one_of("severity", SEVERITIES), name=op.f("ck_notification_deliveries_severity")),
        sa.CheckConstraint(
            one_of("state", ("Pending", "Delivered", "Failed", "Cancelled")),
            name=op.f("ck_notification_deliveries_state"),
        ),
        sa.ForeignKeyConstraint(
            ["channel_id"],
            ["notification_channels.id"],
            name=op.f("fk_notification_deliveries_channel_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification_deliveries")),
        sa.UniqueConstraint(
            "channel_id",
            "message_id",
            "recipient",
            name=op.f("uq_notification_deliveries_channel_id_message_id_recipient"),
        ),
    )
    op.create_index(op.f("ix_notification_deliveries_channel_id_id"), "notification_deliveries", ["channel_id", "id"])
    op.create_index(op.f("ix_notification_deliveries_ended_at"), "notification_deliveries", ["ended_at"])
    op.create_index(
        "ix_notification_deliveries_due",
        "notification_deliveries",
        ["channel_id", "next_attempt_at"],
        postgresql_where=sa.text("state = 'Pending'"),
        sqlite_where=sa.text("state = 'Pending'"),
    )
    op.create_table(
        "expiry_notices",
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("component", sa.String(length=16), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(one_of("component", ("certificate", "support")), name=op.f("ck_expiry_notices_component")),
        sa.PrimaryKeyConstraint("resource_id", "component", name=op.f("pk_expiry_notices")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("expiry_notices")
    op.drop_table("notification_deliveries")
    op.drop_table("notification_channels")
