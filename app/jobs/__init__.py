"""Long-running operations: kept in the database, so that they outlive a restart."""
