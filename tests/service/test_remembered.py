"""What tests begin with is the same whether it was built or put back."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, text

from app.core.clock import ManualClock
from app.core.db import Database
from app.models import Base
from tests.support import remembered
from tests.support.machines import LARGE, SMALL, connected_servers, put
from tests.support.muster import new_site

LEFT_OUT = {"api_tokens", "releases", "monitor_watermark"}


async def raw(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row as the database's driver gives it."""
    async with database.engine.connect() as connection:
        return {
            table.name: sorted(
                (tuple(row) for row in await connection.execute(text(f"SELECT * FROM {table}"))), key=repr
            )
            for table in Base.metadata.sorted_tables
            if table.name not in LEFT_OUT
        }


async def empty(database: Database) -> None:
    """Remove all that a vault has."""
    async with database.engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name not in LEFT_OUT:
                await connection.execute(delete(table))


async def test_what_is_put_back_is_what_was_built(
    database_url: str, clock: ManualClock, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_beginnings", {})
    async with new_site(database_url, clock, tmp_path) as site:
        built = await connected_servers(site, ps_1=SMALL, ps_2=LARGE)
        rows = await raw(database)
    assert rows["hosts"]
    await empty(database)
    async with new_site(database_url, clock, tmp_path) as site:
        found = await connected_servers(site, ps_1=SMALL, ps_2=LARGE)
        assert (found, await raw(database)) == (built, rows)
        assert (await site.beat(found["ps-1"], 2)).status_code == 200
        assert (await put(site)).status_code == 201
        found["ps-1"].clear()
    await empty(database)
    async with new_site(database_url, clock, tmp_path) as site:
        other = await connected_servers(site, ps_1=LARGE, ps_2=LARGE)
        assert other["ps-1"]["id"] != built["ps-1"]["id"], "built for other arguments"
    await empty(database)
    clock.advance(1)
    async with new_site(database_url, clock, tmp_path) as site:
        later = await connected_servers(site, ps_1=SMALL, ps_2=LARGE)
        assert later["ps-1"]["id"] != built["ps-1"]["id"], "built at another moment"
    await empty(database)
    clock.advance(-1)
    async with new_site(database_url, clock, tmp_path) as site:
        await site.tick()
        seen = await connected_servers(site, ps_1=SMALL, ps_2=LARGE)
        assert seen["ps-1"]["id"] != built["ps-1"]["id"], "built where a monitor has looked"
