"""Indexes that serve the orders and filters of lists of source machines."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_source_machines_vault_id_name_id": ["vault_id", "name", "id"],
    "ix_source_machines_vault_id_churn_bytes_per_day_id": ["vault_id", "churn_bytes_per_day", "id"],
    "ix_source_machines_vault_id_os_type_name_id": ["vault_id", "os_type", "name", "id"],
    "ix_source_machines_vault_id_agent_version_name_id": ["vault_id", "agent_version", "name", "id"],
    "ix_source_machines_configuration_server_id_id": ["configuration_server_id", "id"],
    "ix_source_machines_of_site_by_churn": ["configuration_server_id", "churn_bytes_per_day", "id"],
}


def upgrade() -> None:
    """Apply."""
    for name, columns in INDEXES.items():
        op.create_index(name, "source_machines", columns)


def downgrade() -> None:
    """Take back."""
    for name in reversed(INDEXES):
        op.drop_index(name, "source_machines")
