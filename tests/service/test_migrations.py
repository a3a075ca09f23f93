"""Migrations: up, down, up again, at once, and no drift from the models."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from app.core import migrations
from app.core.db import Database
from app.core.errors import DatabaseUnavailable
from app.models import Base
from tests.support.postgres import PostgresServer


@pytest.fixture
async def empty_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a database without a table."""
    if database_kind == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"empty_{uuid.uuid4().hex[:12]}"
    yield await server.create_database_async(name)
    await server.drop_database_async(name)


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    """A database without a table."""
    database = Database(empty_url)
    yield database
    await database.close()


def _comparable(index: Any) -> dict[str, Any]:
    """An index whose conditions are texts; as clauses no two are equal."""
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return {**index, "dialect_options": sorted(options.items())}


def schema_of(connection: Connection) -> dict[str, object]:
    """Every table with its columns, keys, indexes and checks, as the database tells."""
    inspector = inspect(connection)
    return {
        name: (
            sorted((column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(name)),
            inspector.get_pk_constraint(name),
            sorted(inspector.get_foreign_keys(name), key=str),
            sorted(str(_comparable(index)) for index in inspector.get_indexes(name)),
            sorted(inspector.get_unique_constraints(name), key=str),
            sorted(inspector.get_check_constraints(name), key=str),
        )
        for name in sorted(inspector.get_table_names())
    }


async def schema(database: Database) -> dict[str, object]:
    async with database.engine.connect() as connection:
        return await connection.run_sync(schema_of)


async def test_up_down_and_up_again(empty: Database) -> None:
    assert await migrations.current(empty) is None
    await migrations.upgrade(empty)
    assert await migrations.current(empty) == migrations.head()
    first = await schema(empty)
    await migrations.downgrade(empty, "base")
    assert await migrations.current(empty) is None
    assert set(await schema(empty)) == {"alembic_version"}
    await migrations.upgrade(empty)
    assert await schema(empty) == first


async def test_every_step_down_and_up_again_leaves_the_same_schema(empty: Database) -> None:
    script = ScriptDirectory.from_config(migrations.configuration())
    revisions = [revision.revision for revision in script.walk_revisions()][::-1]
    seen: dict[str, dict[str, object]] = {}
    for revision in revisions:
        await migrations.upgrade(empty, revision)
        seen[revision] = await schema(empty)
    for revision in revisions[-2::-1]:
        await migrations.downgrade(empty, revision)
        assert await schema(empty) == seen[revision]
    await migrations.upgrade(empty)
    assert await schema(empty) == seen[revisions[-1]]


async def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(migrations.configuration()).get_heads()) == 1


async def test_the_models_are_what_the_migrations_make(database: Database) -> None:
    assert await migrations.drift(database, Base.metadata) == []


async def test_what_the_models_create_has_the_migrations_checks_and_names(database: Database, empty: Database) -> None:
    """Alembic's comparison does not look at CHECK constraints, partial indexes' conditions and names of keys."""
    async with empty.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    made, migrated = await schema(empty), await schema(database)
    migrated.pop("alembic_version")
    assert made == migrated


async def test_a_difference_is_found(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE vaults DROP COLUMN location"))
    assert await migrations.drift(database, Base.metadata) != []


async def test_upgrading_again_changes_nothing(database: Database) -> None:
    before = await schema(database)
    await migrations.upgrade(database)
    assert await schema(database) == before


@pytest.mark.parametrize("attempt", range(3))
async def test_replicas_that_migrate_at_once_take_turns(empty_url: str, attempt: int) -> None:
    databases = [Database(empty_url) for _ in range(5)]
    await asyncio.gather(*(migrations.upgrade(database) for database in databases))
    assert [await migrations.current(database) for database in databases] == [migrations.head()] * 5
    async with databases[0].read() as session:
        assert (await session.execute(text("SELECT count(*) FROM releases"))).scalar_one() >= 5
    for database in databases:
        await database.close()


async def test_a_migration_that_fails_leaves_nothing(
    empty: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scripts = tmp_path / "migrations"
    shutil.copytree(migrations.SCRIPTS, scripts)
    (scripts / "versions" / "9999_broken.py").write_text(
        '"""Broken."""\n\nfrom alembic import op\n\nrevision = "9999"\n'
        f'down_revision = "{migrations.head()}"\nbranch_labels = None\ndepends_on = None\n\n\n'
        "def upgrade():\n    op.execute('CREATE TABLE half (id INTEGER)')\n    raise ZeroDivisionError\n"
    )
    monkeypatch.setattr(migrations, "SCRIPTS", scripts)
    with pytest.raises(ZeroDivisionError):
        await migrations.upgrade(empty)
    assert set(await schema(empty)) <= {"alembic_version"}
    assert await migrations.current(empty) is None


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_migration_does_not_wait_for_a_table_without_end_but_for_another_migration_it_does(
    empty: Database, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "20ms")
    await migrations.upgrade(empty)
    other = Database(empty_url)
    async with other.engine.begin() as holder:
        await holder.execute(text("LOCK TABLE vaults IN ACCESS SHARE MODE"))
        with pytest.raises(DatabaseUnavailable):
            await migrations.downgrade(empty, "base")
    assert await migrations.current(empty) == migrations.head()
    async with other.engine.begin() as holder:
        await holder.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrations.ADVISORY_LOCK})
        waiting = asyncio.create_task(migrations.upgrade(empty))
        await asyncio.sleep(0.2)
        assert not waiting.done(), "ten times the lock timeout: it waits its turn"
    await waiting
    await other.close()


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    database = Database("postgresql+asyncpg://postgres@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable):
        await migrations.upgrade(database)
    await database.close()
