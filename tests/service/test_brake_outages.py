"""Brakes outlive restarts, follow the leader, and are no matter of Muster's own outages or clocks."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from app.core.clock import ManualClock
from app.core.wire import rfc3339
from tests.support.fleets import Fleet, brakes, dark_site, of_type
from tests.support.muster import Site, new_site

BRAKES = "/api/v1/vaults/contoso/brakes"
TIMEOUT, HOLD = 900, 900
POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@pytest.fixture
async def fleet(site: Site) -> Fleet:
    """A vault without servers; the monitor has looked once."""
    await site.vault()
    await site.tick()
    return Fleet(site)


async def test_a_restart_keeps_it(database_url: str, clock: ManualClock, tmp_path: Path) -> None:
    async with new_site(database_url, clock, tmp_path) as first:
        await first.vault()
        await first.tick()
        await dark_site(Fleet(first))
        (before,) = await brakes(first)
    clock.advance(10)
    async with new_site(database_url, clock, tmp_path) as second:
        await second.tick()
        assert await brakes(second) == [before]
        await second.pass_time(HOLD - 15, step=5)
        assert (await brakes(second))[0]["state"] == "Holding"
        await second.pass_time(20, step=5)
        (after,) = await brakes(second)
        assert (after["state"], after["releasedCount"]) == ("LettingGo", 5)
        assert len(await of_type(second, ".brake-engaged")) == 1


async def test_an_outage_of_the_control_plane_does_not_count_for_the_hold(
    database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    async with new_site(database_url, clock, tmp_path) as first:
        await first.vault()
        await first.tick()
        await dark_site(Fleet(first))
        (before,) = await brakes(first)
    clock.advance(7200)
    async with new_site(database_url, clock, tmp_path) as second:
        await second.tick()
        (after,) = await brakes(second)
        assert after["state"] == "Holding"
        assert after["until"] == rfc3339(clock.now() + timedelta(seconds=HOLD))
        assert after["until"] > before["until"]
        await second.pass_time(HOLD, step=5)
        assert (await brakes(second))[0]["state"] == "LettingGo"


async def test_an_outage_of_the_control_plane_is_no_mass_silence(
    database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    async with new_site(database_url, clock, tmp_path) as first:
        await first.vault()
        fleet = Fleet(first)
        names = await fleet.add_site("cs-1", 9)
        await first.tick()
        await fleet.beat(*names)
        await fleet.live(330, *names[1:], interval=30)
    clock.advance(7200)
    async with new_site(database_url, clock, tmp_path) as second:
        fleet.site = second
        # One was dead before; the others take their time to find back.
        await second.tick()
        await second.pass_time(TIMEOUT - 330, step=5)
        assert [event["resource"]["name"] for event in await of_type(second, "process-server.disconnected")] == ["cs-1"]
        await fleet.beat(*names[1:])
        await second.pass_time(60, step=5)
        assert await brakes(second) == []


async def test_a_clock_that_was_set_back_does_not_prolong_it(site: Site, fleet: Fleet) -> None:
    await dark_site(fleet)
    site.manual_clock.advance(-86_400)
    await site.tick()
    (brake,) = await brakes(site)
    assert brake["until"] == rfc3339(site.clock.now() + timedelta(seconds=HOLD))
    await site.pass_time(HOLD + 30, step=5)
    assert set((await fleet.states()).values()) == {"Disconnected"}


async def test_a_clock_that_was_set_back_leaves_the_share_as_it_is(site: Site, fleet: Fleet) -> None:
    names = await fleet.add_site("cs-1", 19)
    await fleet.beat(*names)
    await site.tick()
    site.manual_clock.advance(-86_400)
    await site.tick()
    await fleet.live(TIMEOUT, *names[3:])
    assert await brakes(site) == []
    assert Counter((await fleet.states()).values()) == {"Connected": 17, "Disconnected": 3}


@pytest.fixture
async def replicas(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[list[Site]]:
    """Three replicas on one database."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(new_site(database_url, clock, tmp_path)) for _ in range(3)]


async def tick_all(replicas: list[Site], seconds: float) -> None:
    """Let time pass while every replica's monitor looks, all at the same moment."""
    for _ in range(round(seconds / 5)):
        replicas[0].manual_clock.advance(5)
        await asyncio.gather(*(replica.tick() for replica in replicas))


async def each_transition_is_one_event(site: Site, names: list[str]) -> None:
    """Connected, then disconnected, and no more, for each of these servers."""
    found = [
        (event["resource"]["kind"], event["resource"]["name"], event["type"])
        for event in await of_type(site, ".connected", ".disconnected")
    ]
    assert len(found) == len(set(found)) == 2 * (len(names) + 1)


@POSTGRESQL
async def test_a_change_of_the_leader_keeps_it(replicas: list[Site]) -> None:
    first, second, _ = replicas
    await first.vault()
    await first.tick()
    fleet = Fleet(first)
    names = await dark_site(fleet)
    assert (await brakes(second))[0]["state"] == "Holding"
    await first.app.state.leadership.release()
    assert await second.app.state.leadership.hold()
    await tick_all(replicas, HOLD - 5)
    assert (await brakes(first))[0]["state"] == "Holding"
    await tick_all(replicas, 5)
    # Half of the way the lead changes again.
    await second.app.state.leadership.release()
    await tick_all(replicas, 60)
    (brake,) = await brakes(first)
    assert (brake["state"], brake["releasedCount"]) == ("Over", 5)
    await each_transition_is_one_event(first, names)
    assert len(await of_type(first, ".brake-engaged")) == len(await of_type(first, ".brake-released")) == 1


@POSTGRESQL
async def test_monitors_that_all_think_they_lead_engage_once_and_let_each_go_once(
    replicas: list[Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = replicas[0]
    await first.vault()

    async def always() -> bool:
        return True

    for replica in replicas:
        monkeypatch.setattr(replica.app.state.leadership, "hold", always)
    await asyncio.gather(*(replica.tick() for replica in replicas))
    fleet = Fleet(first)
    names = await fleet.add_site("cs-1", 9)
    await fleet.beat(*names)
    await tick_all(replicas, TIMEOUT)
    assert Counter((await fleet.states()).values()) == {"Unknown": 10}
    (brake,) = await brakes(first)
    path = f"{BRAKES}/{brake['id']}/acknowledge"
    first.manual_clock.advance(5)
    # An acknowledgement in the middle of three looks, through two replicas at once.
    _, answers = await asyncio.gather(
        asyncio.gather(*(replica.tick() for replica in replicas)),
        asyncio.gather(*(replica.client.post(path) for replica in replicas[:2])),
    )
    assert {answer.json()["state"] for answer in answers} == {"LettingGo"}
    lost = []
    for _ in range(12):
        await tick_all(replicas, 5)
        lost.append(Counter((await fleet.states()).values())["Disconnected"])
    assert lost[-1] == 10
    assert all(later - earlier <= 2 for earlier, later in itertools.pairwise(lost)), "three do not let go three times"
    await each_transition_is_one_event(first, names)
    assert len(await of_type(first, ".brake-engaged")) == len(await of_type(first, ".brake-released")) == 1


@POSTGRESQL
async def test_a_release_that_races_heartbeats_loses_no_transition(replicas: list[Site]) -> None:
    """Whoever wins, the last event agrees with the state, and states and events alternate."""
    first, second, _ = replicas
    await first.vault()
    await first.tick()
    fleet = Fleet(first)
    names = await dark_site(fleet, 19)
    (brake,) = await brakes(first)
    await first.client.post(f"{BRAKES}/{brake['id']}/acknowledge")
    for number in range(0, 20, 2):
        first.manual_clock.advance(5)
        await asyncio.gather(first.tick(), fleet.beat(names[number]), fleet.beat(names[number + 1]), second.tick())
    states = await fleet.states()
    assert set(states.values()) == {"Connected"}
    for name in names:
        mine = [event["type"] for event in await of_type(first, ".connected", ".disconnected")
                if event["resource"] | {"id": ""} == {"kind": "process-server", "name": name, "id": ""}]  # fmt: skip
        returned = [kind for kind in mine if kind == "process-server.disconnected"]
        assert mine[0] == mine[-1] == "process-server.connected"
        assert len(mine) == 2 + len(returned)
        assert len(returned) <= 1
