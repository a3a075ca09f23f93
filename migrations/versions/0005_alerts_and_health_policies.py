"""Alerts, firing and past; what vaults change of the rules."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
OPEN_INDEXES = {
    "uq_alerts_open": ["resource_id", "code"],
    "ix_alerts_open_host_row_id": ["host_row_id"],
    "ix_alerts_open_configuration_server_id": ["configuration_server_id", "severity"],
    "ix_alerts_open_vault_id": ["vault_id", "severity"],
    "ix_alerts_open_code": ["code"],
}
INDEXES = {
    "ix_alerts_vault_id_id": ["vault_id", "id"],
    "ix_alerts_configuration_server_id_id": ["configuration_server_id", "id"],
    "ix_alerts_resource_id_id": ["resource_id", "id"],
    "ix_alerts_cleared_at": ["cleared_at"],
}


def upgrade() -> None:
    """Apply. The alerts of servers that are disconnected or too new now are written by the first sweep."""
    op.create_table(
        "alerts",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("configuration_server_id", sa.Uuid(), nullable=False),
        sa.Column("host_row_id", sa.Uuid(), nullable=False),
        sa.Column("resource_kind", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("resource_name", sa.String(length=63), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("message", sa.String(length=2000), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("severity IN ('Information', 'Warning', 'Critical')", name=op.f("ck_alerts_severity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    is_open = sa.text("cleared_at IS NULL")
    for name, columns in OPEN_INDEXES.items():
        op.create_index(
            name, "alerts", columns, unique=name.startswith("uq_"), postgresql_where=is_open, sqlite_where=is_open
        )
    for name, columns in INDEXES.items():
        op.create_index(name, "alerts", columns)
    op.create_table(
        "health_policies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("window_seconds", sa.Double(), nullable=True),
        sa.Column("rules", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["vaults.id"], name=op.f("fk_health_policies_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_health_policies")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("health_policies")
    op.drop_table("alerts")
