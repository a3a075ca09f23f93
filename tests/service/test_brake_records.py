"""Brakes as settings, records and metrics, and in as many transactions as it takes."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.core.clock import ManualClock
from app.core.db import Database
from app.core.wire import rfc3339
from app.models import Brake, Host
from tests.support.fleets import Fleet, brakes, dark_site, let_brakes_go, of_type
from tests.support.muster import Site, new_site
from tests.support.rows import count

TIMEOUT = 900


@pytest.fixture
async def fleet(site: Site) -> Fleet:
    """A vault without servers; the monitor has looked once."""
    await site.vault()
    await site.tick()
    return Fleet(site)


async def test_a_mass_that_takes_several_transactions_is_one_engagement(
    site: Site, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.connection.tasks.DISCONNECTIONS_PER_TRANSACTION", 3)
    names = await fleet.add_site("cs-1", 9)
    await fleet.beat(*names)
    await site.pass_time(TIMEOUT)
    assert set((await fleet.states()).values()) == {"Unknown"}
    assert [brake["heldCount"] for brake in await brakes(site)] == [10]
    await let_brakes_go(site)
    assert set((await fleet.states()).values()) == {"Disconnected"}
    assert len(await of_type(site, ".disconnected")) == 11


async def test_a_server_without_an_open_brake_is_never_left_unknown(
    site: Site, fleet: Fleet, database: Database
) -> None:
    names = await fleet.add_site("cs-1", 1)
    await fleet.beat(*names)
    async with database.write() as session:
        await session.execute(update(Host).values(connection_state="Unknown"))
    assert await site.tick() == 2
    assert set((await fleet.states()).values()) == {"Disconnected"}
    assert len(await of_type(site, ".disconnected")) == 3


@pytest.fixture
async def strict(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Fleet]:
    """A site with figures of its own."""
    settings: dict[str, Any] = {
        "brake_minimum_servers": 2,
        "brake_share_percentage": 20,
        "brake_hold_seconds": 60,
        "brake_releases_per_minute": 60,
        "brake_window_seconds": 30,
    }
    async with new_site(database_url, clock, tmp_path, **settings) as started:
        await started.vault()
        await started.tick()
        yield Fleet(started)


async def test_the_figures_are_settings(strict: Fleet) -> None:
    site = strict.site
    names = await strict.add_site("cs-1", 9)
    await strict.beat(*names)
    await strict.live(TIMEOUT, *names[2:])
    (brake,) = await brakes(site)
    assert (brake["silentCount"], brake["connectedCount"]) == (2, 10)
    assert brake["until"] == rfc3339(site.clock.now() + timedelta(seconds=60))
    await strict.live(60, *names[2:])
    assert (await brakes(site))[0]["releasedCount"] == 1
    await strict.live(5, *names[2:])
    assert (await brakes(site))[0]["releasedCount"] == 2


async def test_above_the_fleets_size_it_never_engages(database_url: str, clock: ManualClock, tmp_path: Path) -> None:
    async with new_site(database_url, clock, tmp_path, brake_minimum_servers=1000) as site:
        await site.vault()
        await site.tick()
        fleet = Fleet(site)
        await dark_site(fleet, 9)
        assert set((await fleet.states()).values()) == {"Disconnected"}
        assert await brakes(site) == []


async def test_a_configuration_server_that_is_deleted_takes_its_brake_to_the_end(site: Site, fleet: Fleet) -> None:
    await dark_site(fleet)
    deleted = await site.client.delete("/api/v1/vaults/contoso/configuration-servers/cs-1?force=true")
    assert deleted.status_code == 204, deleted.text
    await site.pass_time(320)
    (brake,) = await brakes(site)
    assert (brake["state"], brake["reason"], brake["scope"]["name"]) == ("Over", "returned", "cs-1")
    assert (await site.client.delete("/api/v1/vaults/contoso")).status_code == 204
    assert await count(site.app.state.database, Brake) == 0


async def test_brakes_that_are_over_are_kept_as_long_as_events(site: Site, fleet: Fleet) -> None:
    names = await dark_site(fleet)
    await fleet.beat(*names)
    await fleet.live(320, *names)
    assert [brake["state"] for brake in await brakes(site)] == ["Over"]
    site.manual_clock.advance(90 * 86_400 - 100)
    await site.app.state.housekeeping.tick()
    assert len(await brakes(site)) == 1
    site.manual_clock.advance(200)
    await site.app.state.housekeeping.tick()
    assert await brakes(site) == []


async def _metric(site: Site, name: str) -> float:
    text = (await site.client.get("/metrics")).text
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).rpartition(" ")[2])


async def test_metrics_tell_of_it(site: Site, fleet: Fleet) -> None:
    engagements = await _metric(site, "muster_brake_engagements_total")
    lost = await _metric(site, "muster_servers_disconnected_total")
    await dark_site(fleet)
    assert await _metric(site, "muster_brake_engagements_total") == engagements + 1
    assert await _metric(site, "muster_brake_held_servers") == 5
    assert await _metric(site, "muster_servers_disconnected_total") == lost
    await let_brakes_go(site)
    assert await _metric(site, "muster_brake_held_servers") == 0
    assert await _metric(site, "muster_servers_disconnected_total") == lost + 5
