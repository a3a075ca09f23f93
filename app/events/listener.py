"""Hearing of events that other replicas wrote: one PostgreSQL connection of a process's own, with LISTEN.

Notifications are sent in the transaction that writes the events, so they come after its commit and are complete
while the connection lives. Whatever happened without one is made up for by `on_gap`, which runs after each connect.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.core.db import Database
from app.core.errors import Unavailable
from app.core.leadership import KEEPALIVES
from app.events.queries import NOTIFICATIONS

CHECK_SECONDS = 30
"""Between two looks whether a silent connection still lives."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0

log = structlog.get_logger("muster.events")


class Listener:
    """Keeps the connection, with growing pauses while the database is away.

    `on_notice` gets the vaults that have new events; `on_gap` is awaited when some may have been missed.
    """

    def __init__(
        self,
        database: Database,
        on_notice: Callable[[Collection[uuid.UUID]], None],
        on_gap: Callable[[], Awaitable[None]],
    ) -> None:
        self._on_notice = on_notice
        self._on_gap = on_gap
        self._task: asyncio.Task[None] | None = None
        self._pause_seconds: float = FIRST_PAUSE_SECONDS
        self._engine = create_async_engine(
            database.url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",  # inside a transaction nothing is delivered
            connect_args={
                "timeout": 5,
                "command_timeout": 5,
                "server_settings": {"application_name": "muster events", **KEEPALIVES},
            },
        )

    def start(self) -> None:
        """Connect, and stay connected until closed. Does nothing when it was started before."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="event listener")

    async def close(self) -> None:
        """Disconnect for good."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._engine.dispose()

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, Unavailable, OSError) as error:
                log.warning("no notifications of events for now", error=str(error))
            except Exception as error:
                log.error("the event listener failed", exc_info=error)
            pause, self._pause_seconds = self._pause_seconds, min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret

    async def _listen(self) -> None:
        """Connect and listen until the connection is lost."""
        async with self._engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            is_lost = asyncio.Event()
            raw.add_termination_listener(lambda _connection: is_lost.set())
            try:
                await raw.add_listener(NOTIFICATIONS, self._heard)
                await self._on_gap()
                log.info("hears of events of other replicas")
                self._pause_seconds = FIRST_PAUSE_SECONDS
                while not is_lost.is_set():
                    try:
                        async with asyncio.timeout(CHECK_SECONDS):
                            await is_lost.wait()
                    except TimeoutError:
                        await raw.fetchval("SELECT 1")
                log.warning("lost the connection that hears of events")
            finally:
                # Not given back in order: it may be broken, and nothing else is to use it.
                await connection.invalidate()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        try:
            self._on_notice((uuid.UUID(payload),))
        except ValueError:
            log.warning("a notification names no vault", payload=payload[:80])
