"""The mass-disconnect brake: hosts may be `Unknown`, and the brakes that hold them there."""

import sqlalchemy as sa
from alembic import op

from migrations.checks import replace_check

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

CHECK = "ck_hosts_connection_state"
OLD_STATES = "connection_state IN ('Connected', 'Disconnected')"
STATES = "connection_state IN ('Connected', 'Disconnected', 'Unknown')"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "brakes",
        sa.Column("vault_id", sa.Uuid(), nullable=False),
        sa.Column("scope_kind", sa.String(length=32), nullable=False),
        sa.Column("scope_id", sa.Uuid(), nullable=False),
        sa.Column("scope_name", sa.String(length=63), nullable=False),
        sa.Column("silent_count", sa.BigInteger(), nullable=False),
        sa.Column("connected_count", sa.BigInteger(), nullable=False),
        sa.Column("held_count", sa.BigInteger(), nullable=False),
        sa.Column("released_count", sa.BigInteger(), nullable=False),
        sa.Column("engaged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("joins_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("let_go_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("release", sa.String(length=16), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=255), nullable=True),
        sa.Column("next_release_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("scope_kind IN ('vault', 'configuration-server')", name=op.f("ck_brakes_scope_kind")),
        sa.CheckConstraint("release IN ('expired', 'acknowledged', 'returned')", name=op.f("ck_brakes_release")),
        sa.ForeignKeyConstraint(["vault_id"], ["vaults.id"], name=op.f("fk_brakes_vault_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brakes")),
    )
    op.create_index("ix_brakes_vault_id_id", "brakes", ["vault_id", "id"])
    op.create_index(
        "uq_brakes_holding",
        "brakes",
        ["scope_id"],
        unique=True,
        postgresql_where=sa.text("let_go_at IS NULL"),
        sqlite_where=sa.text("let_go_at IS NULL"),
    )
    op.create_index(
        "ix_brakes_open",
        "brakes",
        ["id"],
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.add_column("hosts", sa.Column("brake_id", sa.Uuid(), nullable=True))
    replace_check("hosts", CHECK, OLD_STATES, STATES)
    op.create_index(
        "ix_hosts_held",
        "hosts",
        ["brake_id"],
        postgresql_where=sa.text("connection_state = 'Unknown'"),
        sqlite_where=sa.text("connection_state = 'Unknown'"),
    )


def downgrade() -> None:
    """Take back. Who is `Unknown` has been silent for the timeout: `Disconnected`, without an event of it."""
    op.drop_index("ix_hosts_held", "hosts")
    op.execute(
        "UPDATE hosts SET connection_state = 'Disconnected', health = 'Critical' WHERE connection_state = 'Unknown'"
    )
    replace_check("hosts", CHECK, STATES, OLD_STATES)
    op.drop_column("hosts", "brake_id")
    op.drop_table("brakes")
