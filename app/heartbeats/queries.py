"""The hot path's SQL: one set-based UPDATE for all heartbeats of a batch that change nothing but numbers.

A row is updated only where id and credential match and nothing noteworthy happened: same boot, same version, same
observed generation, still connected, sequence not going back. Whatever is left over (a wrong credential, a first
heartbeat, a return, an upgrade, another generation observed, a removed server) matches no row, changes nothing, and
is settled by `service.settle`.

This is the one place where the two databases differ in SQL.
"""

import asyncio
import contextlib
import json
import sqlite3
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol

import asyncpg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.connection.rules import bucket_of
from app.core.db import SQLITE_BUSY_SECONDS, Database, sqlite_pragmas, unavailable
from app.heartbeats.beats import Beat
from app.models import ConfigurationServer, Host, Job, ProcessServer, SourceMachine, Tombstone
from app.vocabulary import OPEN_JOB_STATES, JobState, JobType

COMMAND_TIMEOUT_SECONDS = 5.0
POSTGRESQL_WRITERS = 2
_OF_THE_ENGINE = {"async_fallback", "async_creator_fn", "prepared_statement_cache_size", "prepared_statement_name_func"}

_POSTGRESQL = """
UPDATE hosts AS h
SET sequence = beat.sequence,
    last_heartbeat_at = $10::timestamptz,
    last_heartbeat_bucket = $11::bigint,
    ip_addresses = COALESCE(beat.ip_addresses::jsonb, h.ip_addresses),
    telemetry = beat.telemetry::jsonb,
    services = beat.services::jsonb
FROM unnest(
    $1::uuid[], $2::bytea[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[]
) WITH ORDINALITY AS beat(
    id, digest, boot_id, sequence, agent_version, ip_addresses, telemetry, services, observed_generation, position
)
WHERE h.id = beat.id
  AND h.credential_hash = beat.digest
  AND h.boot_id = beat.boot_id
  AND h.sequence <= beat.sequence
  AND h.agent_version = beat.agent_version
  AND h.observed_generation = beat.observed_generation
  AND h.connection_state || '' = 'Connected'
RETURNING beat.position, h.generation
"""

# One plan for good: each heartbeat in the order of the arrays, by the primary key. It is the best plan for every
# batch, it saves a third of the database's work to plan it once, and since batches are sorted it locks rows by
# rising id, so that batches of replicas never deadlock. (`|| ''` keeps the partial index of connected hosts out:
# while statistics still say that nobody is connected, a scan of all who are would look cheaper.)
_POSTGRESQL_PLAN = {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}

_SQLITE = """
UPDATE hosts
SET sequence = beat.sequence,
    last_heartbeat_at = ?2,
    last_heartbeat_bucket = ?3,
    ip_addresses = COALESCE(beat.ip_addresses, hosts.ip_addresses),
    telemetry = beat.telemetry,
    services = beat.services
FROM (
    SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS digest,
           json_extract(value, '$[2]') AS boot_id, json_extract(value, '$[3]') AS sequence,
           json_extract(value, '$[4]') AS agent_version, json_extract(value, '$[5]') AS ip_addresses,
           json_extract(value, '$[6]') AS telemetry, json_extract(value, '$[7]') AS services,
           json_extract(value, '$[8]') AS observed_generation
    FROM json_each(?1)
) AS beat
WHERE hosts.id = beat.id
  AND hex(hosts.credential_hash) = beat.digest
  AND hosts.boot_id = beat.boot_id
  AND hosts.sequence <= beat.sequence
  AND hosts.agent_version = beat.agent_version
  AND hosts.observed_generation = beat.observed_generation
  AND hosts.connection_state = 'Connected'
RETURNING hosts.id, hosts.generation
"""


class Writer(Protocol):
    """Commits the plain heartbeats of a batch."""

    async def write(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        """Update the rows that match and commit; `beats` are sorted by host.

        Returns the generation of each heartbeat's host, None where nothing matched and nothing was changed.

        Raises DatabaseUnavailable when the database does not answer; another error means that some beat of
        the batch can't be stored.
        """

    async def close(self) -> None:
        """Let the connection go."""


def writers_for(database: Database) -> list[Writer]:
    """The writers for a database: SQLite has one at a time, PostgreSQL commits side by side."""
    if database.is_sqlite:
        return [SqliteWriter(database)]
    return [PostgresqlWriter(database) for _ in range(POSTGRESQL_WRITERS)]


class PostgresqlWriter:
    """A connection of its own and one prepared statement."""

    def __init__(self, database: Database) -> None:
        # What the engine makes of the URL's query (`ssl`, `host` of a socket) holds for this connection too.
        _, arguments = database.engine.dialect.create_connect_args(database.url)
        self._arguments = {name: value for name, value in arguments.items() if name not in _OF_THE_ENGINE}
        self._connection: asyncpg.Connection[Any] | None = None
        self._statement: Any = None

    async def _prepared(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                **self._arguments
                | {
                    "timeout": COMMAND_TIMEOUT_SECONDS,
                    "command_timeout": COMMAND_TIMEOUT_SECONDS,
                    "server_settings": {
                        "application_name": "muster heartbeats",
                        "lock_timeout": "4000",
                        "statement_timeout": "5000",
                        **_POSTGRESQL_PLAN,
                    },
                }
            )
            self._statement = await self._connection.prepare(_POSTGRESQL)
        return self._statement

    async def write(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        """One statement outside of a transaction block is its own transaction: it returns once it is durable."""
        try:
            statement = await self._prepared()
            columns = list(zip(*beats, strict=True))
            rows = await statement.fetch(*columns, now, bucket_of(now))
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError):
            raise
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            await self.close()
            raise unavailable() from error
        except Exception:
            # Nobody knows what state it left the connection in.
            await self.close()
            raise
        generations: list[int | None] = [None] * len(beats)
        for position, generation in rows:
            generations[position - 1] = generation
        return generations

    async def close(self) -> None:
        """Drop the connection; the next write makes a new one."""
        connection, self._connection, self._statement = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=1)


class SqliteWriter:
    """A connection of its own in a thread of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "heartbeats")
        self._connection: sqlite3.Connection | None = None

    async def write(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        """Takes this process's turn to write, as every session does."""
        loop = asyncio.get_running_loop()
        async with self._database.exclusive():
            return await loop.run_in_executor(self._thread, self._write, beats, now)

    def _write(self, beats: Sequence[Beat], now: datetime) -> list[int | None]:
        batch = json.dumps(
            [[beat.host, beat.digest.hex().upper(), *beat[2:]] for beat in beats],
            separators=(",", ":"),
        )
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                moment = now.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
                rows = connection.execute(_SQLITE, (batch, moment, bucket_of(now))).fetchall()
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
            self._connection = sqlite3.connect(path, timeout=SQLITE_BUSY_SECONDS, isolation_level=None)
            for pragma in sqlite_pragmas():
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


async def lock_hosts(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Host]:
    """Hosts by id, locked by rising id."""
    statement = select(Host).where(Host.id.in_(host_row_ids)).order_by(Host.id).with_for_update(key_share=True)
    return {host.id: host for host in (await session.execute(statement)).scalars()}


async def configuration_server_versions(
    session: AsyncSession, host_row_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, str]:
    """The stored version of each of these hosts that is a configuration server's."""
    statement = (
        select(Host.id, Host.agent_version)
        .join(ConfigurationServer, ConfigurationServer.host_row_id == Host.id)
        .where(Host.id.in_(host_row_ids))
    )
    return {row.id: row.agent_version for row in await session.execute(statement)}


async def tombstones(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Tombstone]:
    """The tombstones of removed hosts."""
    statement = select(Tombstone).where(Tombstone.host_row_id.in_(host_row_ids))
    return {row.host_row_id: row for row in (await session.execute(statement)).scalars()}


async def desired_rows(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> Sequence[Any]:
    """Generation and process server of each host."""
    statement = (
        select(Host.id, Host.generation, ProcessServer)
        .join(ProcessServer, ProcessServer.host_row_id == Host.id)
        .where(Host.id.in_(host_row_ids))
    )
    return (await session.execute(statement)).all()


async def machine_names(session: AsyncSession, process_server_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    """Names of the machines that use each process server, in order."""
    statement = (
        select(SourceMachine.process_server_id, SourceMachine.name)
        .where(SourceMachine.process_server_id.in_(process_server_ids))
        .order_by(SourceMachine.name)
    )
    found: dict[uuid.UUID, list[str]] = {}
    for process_server_id, name in await session.execute(statement):
        found.setdefault(process_server_id, []).append(name)
    return found


async def wanted_decommissions(
    session: AsyncSession, process_server_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, uuid.UUID]:
    """The decommission that each process server is asked to carry out: its job, by the process server."""
    statement = select(Job.resource_id, Job.id).where(
        Job.resource_id.in_(process_server_ids),
        Job.type == JobType.DECOMMISSION.value,
        Job.state.in_([state.value for state in OPEN_JOB_STATES]),
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def lock_queued_decommissions(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> Sequence[Any]:
    """The decommissions that no agent has taken up, each with its process server's host, locked by rising id."""
    statement = (
        select(Job, ProcessServer.host_row_id)
        .join(ProcessServer, ProcessServer.id == Job.resource_id)
        .where(
            ProcessServer.host_row_id.in_(host_row_ids),
            Job.type == JobType.DECOMMISSION.value,
            Job.state == JobState.QUEUED.value,
        )
        .order_by(Job.id)
        .with_for_update(key_share=True, of=Job)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).all()
