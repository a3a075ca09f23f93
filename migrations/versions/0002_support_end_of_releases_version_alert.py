"""When a release's support ends; since when a process server's version is above its configuration server's."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("releases", sa.Column("support_ends_on", sa.Date(), nullable=True))
    op.add_column("hosts", sa.Column("version_above_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Take back."""
    # Plain statements, not a batch: a rebuilt table would lose the condition of its partial index.
    op.drop_column("hosts", "version_above_since")
    op.drop_column("releases", "support_ends_on")
