"""The database: engines, sessions and the only commits.

What one request or one task's tick changes and one batch of heartbeats are one transaction each. Reads and writes have
separate sessions, so that on SQLite every write starts with BEGIN IMMEDIATE (a transaction that reads first
and writes later could lose its update) while reads never wait for the writer.

Row locks are FOR NO KEY UPDATE: they keep writers apart, but not the foreign-key checks of other rows.
Lock order, to keep deadlocks out: the monitor's watermark, vault, configuration server, process server, brake, host
(several of a kind by rising id), the host's telemetry buckets, notification channel, delivery, and last of all the
event counters, which are taken just before the commit.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request
from sqlalchemy import DateTime, Dialect, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.types import TypeDecorator

from app.core import sqlite
from app.core.clock import Clock, SystemClock
from app.core.errors import Conflict, DatabaseUnavailable, MusterError
from app.core.settings import SQLITE_DRIVER

SQLITE_POOL_SIZE = 5
SQLITE_POOL_OVERFLOW = 10
POSTGRESQL_STATEMENT_TIMEOUT_MS = 30_000
POSTGRESQL_LOCK_TIMEOUT_MS = 10_000
RETRY_AFTER_SECONDS = "5"
_BEFORE_COMMIT = "before_commit"
_AFTER_COMMIT = "after_commit"
_READ_ONLY = "muster_read_only"

log = structlog.get_logger("muster.db")

BeforeCommit = Callable[[AsyncSession], Awaitable[None]]
AfterCommit = Callable[[], None]


class UtcDateTime(TypeDecorator[datetime]):
    """Timezone-aware UTC on both databases; SQLite has no time zones, so they are put on when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses naive times: they would be silently read as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone can't be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Always aware, always UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """Engines and sessions of one process."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.drivername == SQLITE_DRIVER
        self.write_gate = asyncio.Lock()
        """SQLite has one writer: queueing for it here is fair, its own busy loop is not. Unused on PostgreSQL."""
        self.session_info: dict[Any, Any] = {}
        """What each write session has in its `info` from the start."""
        self.engine = self._make_engine(pool_size)
        self.connection_limit = SQLITE_POOL_SIZE + SQLITE_POOL_OVERFLOW if self.is_sqlite else pool_size
        """Connections that the pool opens at the most."""
        self._writes = async_sessionmaker(self.engine, expire_on_commit=False, info=self.session_info)
        # On PostgreSQL each statement sees what is committed when it starts, with or without a transaction around it;
        # reads spare the two round trips. On SQLite the transaction is a snapshot.
        options = {_READ_ONLY: True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._reads = async_sessionmaker(
            self.engine.execution_options(**options), expire_on_commit=False, autoflush=False
        )

    def _make_engine(self, pool_size: int) -> AsyncEngine:
        if not self.is_sqlite:
            engine = create_async_engine(
                self.url,
                pool_size=pool_size,
                max_overflow=0,
                pool_timeout=10,
                hide_parameters=True,
                connect_args={
                    "timeout": 10,
                    "server_settings": {
                        "application_name": "muster",
                        "statement_timeout": str(POSTGRESQL_STATEMENT_TIMEOUT_MS),
                        "lock_timeout": str(POSTGRESQL_LOCK_TIMEOUT_MS),
                        "timezone": "UTC",
                    },
                },
            )
            event.listen(engine.sync_engine, "checkout", _refuse_closed)
            return engine
        engine = create_async_engine(
            self.url,
            pool_size=SQLITE_POOL_SIZE,
            max_overflow=SQLITE_POOL_OVERFLOW,
            hide_parameters=True,
            connect_args={"timeout": sqlite.BUSY_SECONDS, "async_creator_fn": sqlite.connect},
        )
        event.listen(engine.sync_engine, "connect", sqlite.prepare)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads."""
        with translated_errors():
            async with self._reads() as session:
                yield session

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction: committed at the end, rolled back when anything was raised."""
        with translated_errors():
            async with self.exclusive(), self._writes() as session:
                yield session
                for action in session.info.pop(_BEFORE_COMMIT, []):
                    await action(session)
                await session.commit()
            for notice in session.info.pop(_AFTER_COMMIT, []):
                notice()

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """On SQLite, this process's turn to write; on PostgreSQL, nothing."""
        if not self.is_sqlite:
            yield
            return
        async with self.write_gate:
            yield

    async def synchronise(self, clock: SystemClock) -> float:
        """Measure `clock` against the database. Returns the correction in seconds; 0.0 on SQLite."""
        if self.is_sqlite:
            return 0.0
        async with self.read() as session:
            await session.execute(text("SELECT 1"))  # the pool's own round trips must not count
            before = clock.monotonic()
            now = (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()
            return clock.synchronise(now, before, clock.monotonic())

    async def measure(self, clock: Clock) -> None:
        """Synchronise `clock` where that has not succeeded yet: liveness is never judged by this host's wall clock."""
        if not clock.is_measured and isinstance(clock, SystemClock):
            await self.synchronise(clock)

    async def close(self) -> None:
        """Return every connection."""
        await self.engine.dispose()


def before_commit(session: AsyncSession, action: BeforeCommit) -> None:
    """Have `action` run in the transaction just before it commits."""
    session.info.setdefault(_BEFORE_COMMIT, []).append(action)


def after_commit(session: AsyncSession, notice: AfterCommit) -> None:
    """Have `notice` called once the transaction is durable; not at all when it fails."""
    session.info.setdefault(_AFTER_COMMIT, []).append(notice)


async def add_unique(session: AsyncSession, row: Any, error: MusterError) -> None:
    """Insert `row`; raise `error` when a unique constraint refuses it. The transaction stays usable."""
    try:
        async with session.begin_nested():
            session.add(row)
            await session.flush()
    except IntegrityError:
        raise error from None


@contextlib.contextmanager
def translated_errors() -> Any:
    """Connection trouble becomes DatabaseUnavailable, so that clients get 503 and try again."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, OSError, TimeoutError) as error:
        raise unavailable() from error
    except IntegrityError as error:
        log.warning("a constraint refused a concurrent change", error=str(error.orig))
        raise Conflict("another request changed the same thing at the same moment; try again") from error
    except DBAPIError as error:
        # asyncpg reports a server that is shutting down or was killed in classes SQLAlchemy leaves as they are.
        if error.connection_invalidated or _is_transient(error):
            raise unavailable() from error
        raise


def held() -> DatabaseUnavailable:
    """The error for a row that somebody else holds for too long."""
    return DatabaseUnavailable(
        "the server's record is being changed by somebody else; try again in a moment",
        headers={"Retry-After": RETRY_AFTER_SECONDS},
    )


def unavailable() -> DatabaseUnavailable:
    """The error for a database that does not answer."""
    return DatabaseUnavailable(
        "the database does not answer; nothing was changed, try again",
        headers={"Retry-After": RETRY_AFTER_SECONDS},
    )


# Connection exception, insufficient resources, operator intervention, rollback (serialisation, deadlock), lock.
_TRANSIENT_SQLSTATES = ("08", "53", "57", "40", "55P03")


def _is_transient(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return isinstance(state, str) and state.startswith(_TRANSIENT_SQLSTATES)


def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """Have the pool replace a connection that the other side has closed, and all that are as old.

    The driver knows without asking. The pool's own `pool_pre_ping` asks, with three round trips for each session.
    """
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError("the server has closed the connection")


def _begin_sqlite(connection: Any) -> None:
    is_read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if is_read_only else "BEGIN IMMEDIATE")


def database_of(request: Request) -> Database:
    """The application's database."""
    database: Database = request.app.state.database
    return database


async def _read_session(request: Request) -> AsyncIterator[AsyncSession]:
    async with database_of(request).read() as session:
        yield session


async def _write_session(request: Request) -> AsyncIterator[AsyncSession]:
    async with database_of(request).write() as session:
        yield session


# scope="function": with the default, the commit would follow the answer, and a failed one would still be 200.
ReadSession = Annotated[AsyncSession, Depends(_read_session, scope="function")]
WriteSession = Annotated[AsyncSession, Depends(_write_session, scope="function")]
