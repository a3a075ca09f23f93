"""Outages of the control plane itself count for nobody's silence.

Each outage ends with a new application on the same database, as a restart does.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from app.core.clock import ManualClock
from tests.support.muster import Site, new_site

Start = Callable[[], AbstractAsyncContextManager[Site]]
INTERVAL, TICK, TIMEOUT, NEAR = 30, 5, 900, 120


@pytest.fixture
def start(database_url: str, clock: ManualClock, tmp_path: Path) -> Start:
    """Starts the application anew on this test's database."""
    return lambda: new_site(database_url, clock, tmp_path)


class Agents:
    """Agents that send a heartbeat every half minute while the control plane is up."""

    def __init__(self) -> None:
        self.alive: list[dict[str, Any]] = []
        self._sequence = 1

    async def beat(self, site: Site) -> None:
        self._sequence += 1
        for agent in self.alive:
            answer = await site.beat(agent, self._sequence, observedGeneration=1)
            assert answer.status_code == 200

    async def live(self, site: Site, seconds: int) -> None:
        """Let time pass with the monitor and the agents at work; the first heartbeats come after an interval.

        In the first and the last minutes each look is made; in between one stands for those of an interval.
        """
        passed = 0
        while passed < seconds:
            if passed % INTERVAL == 0 and NEAR <= passed <= seconds - NEAR - INTERVAL:
                await site.pass_time(INTERVAL)
                passed += INTERVAL
                await self.beat(site)
                continue
            site.manual_clock.advance(TICK)
            passed += TICK
            if passed % INTERVAL == 0:
                await self.beat(site)
            await site.tick()


async def first_life(site: Site, agents: Agents) -> None:
    """Two process servers and their configuration server, connected and watched for a minute."""
    await site.vault()
    server = await site.configuration_server()
    agents.alive = [server, await site.process_server(server, "ps-1"), await site.process_server(server, "ps-2")]
    await site.tick()
    await agents.beat(site)
    await agents.live(site, 60)


async def disconnections(site: Site) -> list[str]:
    """Names of the servers that were marked, in order."""
    return [event["resource"]["name"] for event in await site.events() if event["type"].endswith(".disconnected")]


@pytest.mark.parametrize("minutes", [20, 120])
async def test_no_live_server_is_marked_and_a_dead_one_is_found_within_observed_time(
    start: Start, clock: ManualClock, minutes: int
) -> None:
    agents = Agents()
    async with start() as site:
        await first_life(site, agents)
        dead = agents.alive.pop()
        # It dies: 300 s of its silence are observed before the outage.
        await agents.live(site, 300)
        assert await disconnections(site) == []
    clock.advance(minutes * 60)
    async with start() as site:
        await site.tick()
        await agents.live(site, INTERVAL)
        assert await disconnections(site) == []
        # 600 s of the timeout are left when the control plane is back: not a moment earlier, not a look later.
        await agents.live(site, TIMEOUT - 300 - INTERVAL - TICK)
        assert await disconnections(site) == []
        clock.advance(TICK)
        await agents.beat(site)
        await site.tick()
        assert await disconnections(site) == ["ps-2"]
        # And whoever lives was never marked, however long it goes on.
        await agents.live(site, 1800)
        assert await disconnections(site) == ["ps-2"]
        assert (await site.beat(dead, 999)).status_code == 200


async def test_a_server_that_dies_during_the_outage_is_found_a_timeout_after_its_end(
    start: Start, clock: ManualClock
) -> None:
    agents = Agents()
    async with start() as site:
        await first_life(site, agents)
    agents.alive.pop()
    clock.advance(3600)
    async with start() as site:
        await site.tick()
        await agents.live(site, TIMEOUT - TICK)
        assert await disconnections(site) == []
        await agents.live(site, TICK)
        assert await disconnections(site) == ["ps-2"]


@pytest.mark.parametrize("first_tick_first", [True, False])
async def test_many_outages_in_a_row(start: Start, clock: ManualClock, first_tick_first: bool) -> None:
    """Ten outages of an hour with a minute of life between them: 600 s of observed silence are not 900."""
    agents = Agents()
    async with start() as site:
        await first_life(site, agents)
        dead = agents.alive.pop()
        assert dead["name"] == "ps-2"
    for _ in range(10):
        clock.advance(3600)
        async with start() as site:
            if first_tick_first:
                await site.tick()
                await agents.beat(site)
            else:
                await agents.beat(site)
                await site.tick()
            await agents.live(site, 60)
            assert await disconnections(site) == []
    async with start() as site:
        await agents.live(site, TIMEOUT - 600 - TICK)
        assert await disconnections(site) == []
        await agents.live(site, TICK)
        assert await disconnections(site) == ["ps-2"]


async def test_a_pause_of_two_ticks_is_no_outage(start: Start, clock: ManualClock) -> None:
    agents = Agents()
    async with start() as site:
        await first_life(site, agents)
        agents.alive.pop()
    clock.advance(2 * TICK)
    async with start() as site:
        await site.tick()
        await agents.live(site, TIMEOUT - 2 * TICK - TICK)
        assert await disconnections(site) == []
        await agents.live(site, TICK)
        assert await disconnections(site) == ["ps-2"]


async def test_who_was_disconnected_before_the_outage_is_not_marked_again(start: Start, clock: ManualClock) -> None:
    agents = Agents()
    async with start() as site:
        await first_life(site, agents)
        agents.alive.pop()
        await agents.live(site, TIMEOUT)
        assert await disconnections(site) == ["ps-2"]
    clock.advance(7200)
    async with start() as site:
        await site.tick()
        await agents.live(site, 1200)
        assert await disconnections(site) == ["ps-2"]


@pytest.fixture
async def small(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Site]:
    """A timeout of ten seconds: the tick follows."""
    async with new_site(database_url, clock, tmp_path, heartbeat_timeout_seconds=10) as site:
        yield site


async def test_a_short_timeout(small: Site) -> None:
    await small.vault()
    server = await small.configuration_server()
    assert server["heartbeat"] == {"intervalSeconds": 2, "timeoutSeconds": 10}
    await small.tick()
    answer = await small.beat(server)
    assert answer.json()["nextHeartbeatSeconds"] <= 2
    await small.pass_time(7.5, step=2.5)
    small.manual_clock.advance(2.499)
    assert await small.tick() == 0
    small.manual_clock.advance(0.001)
    assert await small.tick() == 1
