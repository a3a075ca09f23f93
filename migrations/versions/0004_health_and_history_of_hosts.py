"""Telemetry in columns, its history, and what alerts need to know of a host."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
METRICS = (
    "cpu_percentage",
    "total_memory_bytes",
    "available_memory_bytes",
    "total_space_bytes",
    "available_space_bytes",
    "throughput_bytes",
    "pending_bytes",
)
QUIET = [
    f"quiet_{reading}_{end}" for reading in ("cpu", "memory", "space", "upload", "skew") for end in ("low", "high")
]


def statistics() -> list[sa.Column]:
    """Count, sum, least and greatest of each metric."""
    columns: list[sa.Column] = []
    for metric in METRICS:
        columns += [
            sa.Column(f"{metric}_count", sa.Integer(), nullable=False, server_default=sa.text("0")),
            sa.Column(f"{metric}_sum", sa.Double(), nullable=False, server_default=sa.text("0")),
            sa.Column(f"{metric}_min", sa.Double(), nullable=True),
            sa.Column(f"{metric}_max", sa.Double(), nullable=True),
        ]
    return columns


def upgrade() -> None:
    """Apply. The latest telemetry is unknown until the next heartbeat, half a minute later."""
    op.create_table(
        "telemetry_buckets",
        sa.Column("host_row_id", sa.Uuid(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), autoincrement=False, nullable=False),
        *statistics(),
        sa.PrimaryKeyConstraint("host_row_id", "bucket", name=op.f("pk_telemetry_buckets")),
    )
    op.create_index("ix_telemetry_buckets_bucket", "telemetry_buckets", ["bucket"])
    # Plain statements, not a batch: a rebuilt table would lose the condition of its partial index.
    op.drop_column("hosts", "telemetry")
    for metric in METRICS:
        kind = sa.Double() if metric == "cpu_percentage" else sa.BigInteger()
        op.add_column("hosts", sa.Column(metric, kind, nullable=True))
    op.add_column("hosts", sa.Column("heartbeat_key", sa.LargeBinary(), nullable=True))
    op.add_column("hosts", sa.Column("conditions", JSON, nullable=False, server_default=sa.text("'{}'")))
    op.add_column("hosts", sa.Column("alert_due_at", sa.DateTime(timezone=True), nullable=True))
    for name in QUIET:
        op.add_column("hosts", sa.Column(name, sa.Double(), nullable=True))
    op.add_column("hosts", sa.Column("history_bucket", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    for column in statistics():
        op.add_column("hosts", column)
    op.create_index(
        "ix_hosts_alert_due_at",
        "hosts",
        ["alert_due_at"],
        postgresql_where=sa.text("alert_due_at IS NOT NULL"),
        sqlite_where=sa.text("alert_due_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_hosts_alert_due_at", "hosts")
    for column in reversed(statistics()):
        op.drop_column("hosts", column.name)
    for name in ["history_bucket", *QUIET, "alert_due_at", "conditions", "heartbeat_key", *METRICS]:
        op.drop_column("hosts", name)
    op.add_column("hosts", sa.Column("telemetry", JSON, nullable=True))
    op.drop_table("telemetry_buckets")
