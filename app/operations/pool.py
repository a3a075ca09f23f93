"""How many connections of the database pool are taken."""

from typing import Any

from sqlalchemy import QueuePool, event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.metrics import DATABASE_CONNECTIONS_IN_USE


def watch(engine: AsyncEngine) -> None:
    """Keep the gauge up to date. It is set, not counted up and down, so that no lost connection bends it for good."""

    def taken(*_: Any) -> None:
        pool = engine.pool
        if isinstance(pool, QueuePool):
            DATABASE_CONNECTIONS_IN_USE.set(pool.checkedout())

    def returned(*_: Any) -> None:
        pool = engine.pool
        if isinstance(pool, QueuePool):
            # The connection that comes back is counted until the pool has it.
            DATABASE_CONNECTIONS_IN_USE.set(pool.checkedout() - 1)

    event.listen(engine.sync_engine, "checkout", taken)
    event.listen(engine.sync_engine, "checkin", returned)
