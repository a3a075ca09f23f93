"""Jobs that move machines or ask a configuration server for something, and the agents that they wait for."""

import sqlalchemy as sa
from alembic import op

from migrations.checks import replace_check

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

CHECK = "ck_jobs_type"
OLD_TYPES = "type IN ('decommission', 'purge')"
TYPES = "type IN ('decommission', 'purge', 'load-balance', 'switch', 'rebalance', 'refresh', 'renew-certificate')"


def upgrade() -> None:
    """Apply."""
    replace_check("jobs", CHECK, OLD_TYPES, TYPES)
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["type", "id"],
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "job_waits",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("host_row_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_waits_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "host_row_id", name=op.f("pk_job_waits")),
    )
    op.create_index("ix_job_waits_host_row_id", "job_waits", ["host_row_id"])
    op.create_index(
        "ix_process_servers_drained",
        "process_servers",
        ["maintenance_until"],
        postgresql_where=sa.text("is_drained"),
        sqlite_where=sa.text("is_drained"),
    )


def downgrade() -> None:
    """Take back. Jobs of types that are not known then go with it."""
    op.drop_index("ix_process_servers_drained", "process_servers")
    op.drop_table("job_waits")
    op.drop_index("ix_jobs_open", "jobs")
    op.execute("DELETE FROM jobs WHERE type NOT IN ('decommission', 'purge')")
    replace_check("jobs", CHECK, TYPES, OLD_TYPES)
