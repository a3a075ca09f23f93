"""Jobs; purged machines that stay out; rebuilt machines that take a server's place."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
OLD_KINDS = ("vault", "configuration-server", "process-server", "registration-key")
KINDS = (*OLD_KINDS, "source-machine", "job")


def one_of(column: str, values: tuple[str, ...]) -> str:
    """The condition of an enum column."""
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "jobs",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("progress_percentage", sa.BigInteger(), nullable=False),
        sa.Column("resource_kind", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("resource_name", sa.String(length=63), nullable=False),
        sa.Column("target", sa.String(length=63), nullable=True),
        sa.Column("requested_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("details", JSON, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(one_of("type", ("decommission", "purge")), name=op.f("ck_jobs_type")),
        sa.CheckConstraint(
            one_of("state", ("Queued", "InProgress", "Succeeded", "Failed", "Cancelled")), name=op.f("ck_jobs_state")
        ),
        sa.CheckConstraint(one_of("resource_kind", KINDS), name=op.f("ck_jobs_resource_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_resource_id_state", "jobs", ["resource_id", "state"])
    op.create_index("ix_jobs_vault_id_id", "jobs", ["vault_id", "id"])
    with op.batch_alter_table("tombstones") as batch:
        batch.add_column(sa.Column("ip_addresses", JSON, nullable=False, server_default=sa.text("'[]'")))
        batch.add_column(sa.Column("blocks_registration", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("readmitted_at", sa.DateTime(timezone=True), nullable=True))
        batch.add_column(sa.Column("readmitted_by", sa.String(length=255), nullable=True))
        batch.drop_constraint(op.f("ck_tombstones_resource_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_tombstones_resource_kind"), one_of("resource_kind", KINDS))
    with op.batch_alter_table("tombstones") as batch:
        batch.alter_column("ip_addresses", server_default=None)
        batch.alter_column("blocks_registration", server_default=None)
    op.add_column("process_servers", sa.Column("takeover_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("process_servers", sa.Column("takeover_host_id", sa.String(length=64), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("process_servers", "takeover_host_id")
    op.drop_column("process_servers", "takeover_until")
    with op.batch_alter_table("tombstones") as batch:
        batch.drop_constraint(op.f("ck_tombstones_resource_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_tombstones_resource_kind"), one_of("resource_kind", OLD_KINDS))
        batch.drop_column("readmitted_by")
        batch.drop_column("readmitted_at")
        batch.drop_column("blocks_registration")
        batch.drop_column("ip_addresses")
    op.drop_table("jobs")
