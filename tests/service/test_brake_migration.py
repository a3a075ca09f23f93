"""The migration to `Unknown` hosts, with data: SQLite makes the table anew for it, and nothing may get lost."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.core import migrations
from app.core.clock import ManualClock
from app.core.db import Database
from app.models import ConfigurationServer, Host, IssuedCredential, ProcessServer, SourceMachine
from tests.support.fleets import Fleet, brakes
from tests.support.muster import Site, new_site, registration
from tests.support.rows import count

BEFORE, AFTER = "0006", "0007"
TABLES = (ConfigurationServer, ProcessServer, Host, IssuedCredential, SourceMachine)


@pytest.fixture
async def site(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Site]:
    """A site with a brake that holds servers, credentials that were not used yet, and a source machine."""
    async with new_site(database_url, clock, tmp_path) as started:
        await started.vault()
        await started.tick()
        fleet = Fleet(started)
        names = await fleet.add_site("cs-1", 4)
        await fleet.beat(*names)
        server = await started.configuration_server(name="cs-2")
        machine = await started.process_server(server)
        await started.agent_post("/agent/v1/process-servers/register", registration(server, "ps-1"))
        await started.source_machine(machine["id"], "web-01")
        await started.pass_time(900, step=10)
        yield started


async def contents(database: Database) -> dict[str, list[dict[str, object]]]:
    """Every row of the tables that hang together, as the database has it."""
    found: dict[str, list[dict[str, object]]] = {}
    async with database.read() as session:
        for table in (model.__tablename__ for model in TABLES):
            rows = (await session.execute(text(f"SELECT * FROM {table} ORDER BY id"))).mappings()
            found[table] = [dict(row) for row in rows]
    return found


async def states(database: Database) -> list[str]:
    """The connection state of every host."""
    async with database.read() as session:
        rows = await session.execute(text("SELECT connection_state FROM hosts ORDER BY connection_state"))
        return list(rows.scalars())


async def test_down_and_up_again_keeps_every_row(site: Site, database: Database) -> None:
    assert await states(database) == ["Disconnected"] * 2 + ["Unknown"] * 5
    assert len(await brakes(site)) == 1
    await migrations.downgrade(database, AFTER)
    before = await contents(database)
    assert all(before.values())
    await migrations.downgrade(database, BEFORE)
    assert await states(database) == ["Disconnected"] * 7
    down = await contents(database)
    for row in before["hosts"]:
        if row["connection_state"] == "Unknown":
            row.update(connection_state="Disconnected", health="Critical")
        del row["brake_id"]
    assert down == before
    await migrations.upgrade(database, AFTER)
    again = await contents(database)
    for row in again["hosts"]:
        assert row.pop("brake_id") is None
    assert again == before


async def test_the_state_is_checked_before_and_after(site: Site, database: Database) -> None:
    statement = text("UPDATE hosts SET connection_state = :state")
    for wrong in ("Lost", "unknown", ""):
        with pytest.raises(IntegrityError):
            async with database.engine.begin() as connection:
                await connection.execute(statement, {"state": wrong})
    await migrations.downgrade(database, BEFORE)
    with pytest.raises(IntegrityError):
        async with database.engine.begin() as connection:
            await connection.execute(statement, {"state": "Unknown"})
    await migrations.upgrade(database, AFTER)
    async with database.engine.begin() as connection:
        await connection.execute(statement, {"state": "Unknown"})


async def test_foreign_keys_still_hold(site: Site, database: Database) -> None:
    for target in (BEFORE, AFTER):
        await (migrations.downgrade if target == BEFORE else migrations.upgrade)(database, target)
        with pytest.raises(IntegrityError):
            async with database.engine.begin() as connection:
                await connection.execute(text("DELETE FROM hosts"))
    assert await count(database, IssuedCredential) > 0


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_migration_that_would_break_a_reference_changes_nothing(
    site: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While tables are made anew SQLite does not check references; the migration does at its end."""
    before = await contents(database)

    def breaking(config: object, target: str) -> None:
        connection = config.attributes["connection"]  # type: ignore[attr-defined]
        connection.exec_driver_sql("DELETE FROM hosts")

    monkeypatch.setattr("alembic.command.upgrade", breaking)
    with pytest.raises(migrations.MigrationBroken, match="configuration_servers"):
        await migrations.upgrade(database)
    assert await contents(database) == before
    with pytest.raises(IntegrityError):
        async with database.engine.begin() as connection:
            await connection.execute(text("DELETE FROM hosts"))


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_partial_indexes_keep_their_conditions(database: Database) -> None:
    statement = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'hosts'")
    for target in (BEFORE, AFTER):
        await (migrations.downgrade if target == BEFORE else migrations.upgrade)(database, target)
        async with database.read() as session:
            found = {row.name: row.sql or "" for row in await session.execute(statement)}
        assert found["ix_hosts_silent_candidates"].endswith("WHERE connection_state = 'Connected'")
        assert found["ix_hosts_alert_due_at"].endswith("WHERE alert_due_at IS NOT NULL")
        assert ("ix_hosts_held" in found) == (target == AFTER)
