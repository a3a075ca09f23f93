"""Bringing a database to this version's schema, and telling whether it is there."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.db import Database, translated_errors
from app.core.errors import DatabaseUnavailable

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "migrations"
ADVISORY_LOCK = 0x6D75_7374_6572  # "muster"
LOCK_TIMEOUT = "30s"
SQLITE_TURNS = 6
STATEMENT_TIMEOUT = "15min"


class MigrationBroken(Exception):
    """A migration would leave the database without its integrity; nothing was changed."""


def configuration() -> Config:
    """Alembic's configuration, without a file."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    return config


@functools.cache
def head() -> str:
    """The revision this version of Muster needs."""
    revision = ScriptDirectory.from_config(configuration()).get_current_head()
    if revision is None:
        raise LookupError(f"no migrations in {SCRIPTS}")
    return revision


def is_behind(revision: str | None) -> bool:
    """Whether a database at `revision` lacks something that this version of Muster needs.

    A revision this version does not know is a newer one: a migration leaves room for the version before it, so
    that replicas can be replaced one after the other.
    """
    known = {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}
    return revision is None or (revision in known and revision != head())


async def current(database: Database) -> str | None:
    """The revision the database is at; None when it was never migrated."""
    async with database.read() as session:
        connection = await session.connection()
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


async def upgrade(database: Database, target: str = "head") -> None:
    """Migrate up to `target`, all or nothing.

    Replicas that migrate at once take turns: an advisory lock on PostgreSQL, the write lock on SQLite. On
    PostgreSQL a lock or statement timeout ends the migration rather than stopping every agent behind it.
    """
    await _run(database, lambda config: command.upgrade(config, target))


async def downgrade(database: Database, target: str) -> None:
    """Migrate down to `target`, all or nothing."""
    await _run(database, lambda config: command.downgrade(config, target))


async def drift(database: Database, metadata: MetaData) -> list[Any]:
    """The differences between the migrated database and the models; empty when they agree."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(
            lambda sync: list(compare_metadata(MigrationContext.configure(sync, opts={"compare_type": True}), metadata))
        )


async def _run(database: Database, step: Any) -> None:
    def within(connection: Connection) -> None:
        if not database.is_sqlite:
            # The wait for another replica's migration may be as long as that one takes; the wait for a table may not.
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        config = configuration()
        config.attributes["connection"] = connection
        step(config)

    # SQLite gives up its wait for another process's migration after its busy timeout; that may be too short for one.
    turns = SQLITE_TURNS if database.is_sqlite else 1
    for turn in range(1, turns + 1):
        try:
            with translated_errors():
                async with database.exclusive(), _prepared(database) as connection:
                    await connection.run_sync(within)
        except DatabaseUnavailable:
            if turn == turns:
                raise
        else:
            return


@contextlib.asynccontextmanager
async def _prepared(database: Database) -> AsyncIterator[AsyncConnection]:
    """A transaction that may make tables anew.

    On SQLite that means dropping them, and with foreign keys on the drop would delete what refers to their rows; the
    switch works outside of transactions only. They are checked before the commit.
    """
    if not database.is_sqlite:
        async with database.engine.begin() as connection:
            yield connection
        return
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute("PRAGMA foreign_keys = OFF")
        try:
            async with connection.begin():
                yield connection
                broken = (await connection.exec_driver_sql("PRAGMA foreign_key_check")).all()
                if broken:
                    raise MigrationBroken(
                        f"rows refer to what is not there (table, row, table it refers to): {broken[:5]}"
                    )
        finally:
            await driver.execute("PRAGMA foreign_keys = ON")


def upgrade_blocking(url: str) -> None:
    """`upgrade` for callers without an event loop."""

    async def run() -> None:
        database = Database(url)
        try:
            await upgrade(database)
        finally:
            await database.close()

    asyncio.run(run())
