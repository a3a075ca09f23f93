"""Retention of telemetry history."""

from datetime import datetime, timedelta

from app.connection.rules import bucket_of
from app.core.db import Database
from app.telemetry import queries

BUCKETS_PER_TRANSACTION = 500


async def delete_expired(database: Database, now: datetime, retention_days: int) -> int:
    """Delete the buckets that ended more than `retention_days` ago. Returns how many.

    Each small transaction stands for itself: what is left when one fails is deleted by the next run, and on SQLite
    heartbeats have their turn in between.
    """
    kept = bucket_of(now - timedelta(days=retention_days))
    deleted = 0
    while True:
        async with database.write() as session:
            batch = await queries.delete_before(session, kept, BUCKETS_PER_TRANSACTION)
        deleted += batch
        if batch < BUCKETS_PER_TRANSACTION:
            return deleted
