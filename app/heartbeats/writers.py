"""The hot path's connections: each commits the plain heartbeats of a batch with the statements of `statements`."""

import asyncio
import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import asyncpg

from app.connection.rules import bucket_of
from app.core import sqlite
from app.core.db import Database, unavailable
from app.heartbeats import statements
from app.heartbeats.beats import NUMBERS, Beat

COMMAND_TIMEOUT_SECONDS = 5.0
LOCK_TIMEOUT_MILLISECONDS = 1_000
"""A batch waits so long for a host's row; then it goes without those that are held."""
HELD = -1
POSTGRESQL_WRITERS = 2
_OF_THE_ENGINE = {"async_fallback", "async_creator_fn", "prepared_statement_cache_size", "prepared_statement_name_func"}


class Writer(Protocol):
    """Commits the plain heartbeats of a batch."""

    async def write(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        """Update the rows that match and commit; `beats` are sorted by host.

        Returns the generation of each heartbeat's host, None where nothing matched and nothing was changed, HELD where
        somebody holds the host's row for so long that the others don't wait for it.

        Raises DatabaseUnavailable when the database does not answer; another error means that some beat of
        the batch can't be stored.
        """

    async def close(self) -> None:
        """Let the connection go."""


def writers_for(database: Database, timeout: timedelta) -> list[Writer]:
    """The writers for a database: SQLite has one at a time, PostgreSQL commits side by side.

    `timeout` is the heartbeat timeout.
    """
    if database.is_sqlite:
        return [SqliteWriter(database, timeout)]
    return [PostgresqlWriter(database, timeout) for _ in range(POSTGRESQL_WRITERS)]


class PostgresqlWriter:
    """A connection of its own and two prepared statements."""

    def __init__(self, database: Database, timeout: timedelta) -> None:
        self._timeout = timeout
        # What the engine makes of the URL's query (`ssl`, `host` of a socket) holds for this connection too.
        _, arguments = database.engine.dialect.create_connect_args(database.url)
        self._arguments = {name: value for name, value in arguments.items() if name not in _OF_THE_ENGINE}
        self._connection: asyncpg.Connection[Any] | None = None
        self._statements: tuple[Any, Any] = (None, None)

    async def _prepared(self) -> tuple[Any, Any]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                **self._arguments
                | {
                    "timeout": COMMAND_TIMEOUT_SECONDS,
                    "command_timeout": COMMAND_TIMEOUT_SECONDS,
                    "server_settings": {
                        "application_name": "muster heartbeats",
                        "lock_timeout": str(LOCK_TIMEOUT_MILLISECONDS),
                        "statement_timeout": "5000",
                        **statements.POSTGRESQL_PLAN,
                    },
                }
            )
            self._statements = (
                await self._connection.prepare(statements.POSTGRESQL_UPDATE),
                await self._connection.prepare(statements.POSTGRESQL_ROLL),
            )
        return self._statements

    async def write(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        """One statement outside of a transaction block is its own transaction: it returns once it is durable."""
        try:
            try:
                return await self._write(beats, now)
            except asyncpg.LockNotAvailableError:
                return await self._write_free(beats, now)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError):
            raise
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            await self.close()
            raise unavailable() from error
        except Exception:
            # Nobody knows what state it left the connection in.
            await self.close()
            raise

    async def _write(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        generations: list[int | None] = [None] * len(beats)
        update, roll = await self._prepared()
        moment = (now, bucket_of(now), now.timestamp(), now - self._timeout)
        for position, generation in await update.fetch(*_columns(beats), *moment):
            generations[position - 1] = generation
        left_over = [at for at, generation in enumerate(generations) if generation is None]
        if left_over:
            columns = _columns([beats[at] for at in left_over])
            for position, generation in await roll.fetch(*columns, *moment):
                generations[left_over[position - 1]] = generation
        return generations

    async def _write_free(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        """Without the hosts that somebody holds: an import of thousands of machines must not silence other sites."""
        assert self._connection is not None
        hosts = [beat.host for beat in beats]
        known = {row[0].hex for row in await self._connection.fetch(statements.POSTGRESQL_KNOWN, hosts)}
        free = {row[0].hex for row in await self._connection.fetch(statements.POSTGRESQL_FREE, hosts)}
        places = [at for at, host in enumerate(hosts) if host not in known or host in free]
        generations: list[int | None] = [HELD] * len(beats)
        for at, generation in zip(places, await self._write([beats[at] for at in places], now), strict=True):
            generations[at] = generation
        return generations

    async def close(self) -> None:
        """Drop the connection; the next write makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=1)


class SqliteWriter:
    """A connection of its own in a thread of its own."""

    def __init__(self, database: Database, timeout: timedelta) -> None:
        self._database = database
        self._timeout = timeout
        self._thread = ThreadPoolExecutor(1, "heartbeats")
        self._connection: sqlite3.Connection | None = None

    async def write(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        """Takes this process's turn to write, as every session does."""
        loop = asyncio.get_running_loop()
        async with self._database.exclusive():
            return await loop.run_in_executor(self._thread, self._write, beats, now)

    def _write(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                rows = _update(connection, beats, now, self._timeout)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            self._disconnect()
            raise unavailable() from error
        updated: dict[str, int] = dict(rows)
        # Of two credentials of one host SQLite does not tell which one matched; neither is taken for the one.
        shown = Counter(beat.host for beat in beats)
        return [updated.get(beat.host) if shown[beat.host] == 1 else None for beat in beats]

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            path = self._database.url.database or ""
            self._connection = sqlite3.connect(path, timeout=sqlite.BUSY_SECONDS, isolation_level=None)
            for pragma in sqlite.pragmas():
                self._connection.execute(pragma)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    async def close(self) -> None:
        """Close the connection in its own thread, and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()


def _columns(beats: Sequence[Beat]) -> list[tuple[Any, ...]]:
    columns = list(zip(*beats, strict=True))
    return [columns[at] for at in _SENT]


_SENT = tuple(Beat._fields.index(name) for name in ("host", "key", "sequence", *NUMBERS))


def _update(
    connection: sqlite3.Connection, beats: Sequence[Beat], now: datetime, timeout: timedelta
) -> list[tuple[str, int]]:
    moment = (_as_text(now), bucket_of(now), now.timestamp(), _as_text(now - timeout))
    rows = connection.execute(statements.SQLITE_UPDATE, (_as_json(beats), *moment)).fetchall()
    if len(rows) < len(beats):
        known = {row[0] for row in rows}
        left_over = (_as_json([beat for beat in beats if beat.host not in known]), *moment)
        connection.execute(statements.SQLITE_KEEP, left_over)
        rows += connection.execute(statements.SQLITE_ROLL, left_over).fetchall()
    return rows


def _as_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _as_json(beats: Sequence[Beat]) -> str:
    return json.dumps(
        [[beat.host, beat.key.hex().upper(), *tuple(beat)[_NUMBERS]] for beat in beats],
        separators=(",", ":"),
    )


_NUMBERS = slice(Beat._fields.index("sequence"), Beat._fields.index(NUMBERS[-1]) + 1)
