"""One leader among replicas: a PostgreSQL advisory lock on a connection of its own.

The lock lives as long as the connection, so a leader that dies or is cut off loses it. SQLite serves one
process, which always leads.
"""

import contextlib

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from app.core.db import Database, translated_errors

log = structlog.get_logger("muster.leadership")

# The server ends the connection of a leader whose host is gone, and the lock with it, within half a minute; the
# system's default is more than two hours without a leader.
KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "4"}


class Leadership:
    """The claim of one process to lead in one matter, named by `key` (a signed 64-bit number)."""

    def __init__(self, database: Database, key: int, name: str) -> None:
        self._database = database
        self._key = key
        self._name = name
        self._connection: AsyncConnection | None = None
        self._engine = (
            None
            if database.is_sqlite
            else create_async_engine(
                database.url,
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",
                connect_args={
                    "timeout": 5,
                    "command_timeout": 5,
                    "server_settings": {"application_name": f"muster {name} leader", **KEEPALIVES},
                },
            )
        )

    async def hold(self) -> bool:
        """Whether this process leads now: keeps the lock it has, or tries to get it. Never waits for it."""
        if self._engine is None:
            return True
        if self._connection is not None:
            try:
                await self._connection.execute(text("SELECT 1"))
            except (DBAPIError, OSError, TimeoutError):
                log.warning("lost the connection that held the lead", matter=self._name)
                await self.release()
            else:
                return True
        with translated_errors():
            connection = await self._engine.connect()
            try:
                statement = text("SELECT pg_try_advisory_lock(:key)")
                is_leader = bool((await connection.execute(statement, {"key": self._key})).scalar_one())
            except BaseException:
                await connection.close()
                raise
        if not is_leader:
            await connection.close()
            return False
        log.info("leads", matter=self._name)
        self._connection = connection
        return True

    async def release(self) -> None:
        """Give the lead up, so that another takes it at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError, OSError, TimeoutError):
                await connection.close()

    async def close(self) -> None:
        """Give the lead up for good."""
        await self.release()
        if self._engine is not None:
            await self._engine.dispose()
