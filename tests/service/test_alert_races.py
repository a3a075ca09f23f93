"""Two that sweep at once, sweeps that race heartbeats, first looks that race: each change is one event."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.core.clock import ManualClock
from tests.support.health import Agent, agents, alerts, firing, told
from tests.support.muster import Site, new_site

POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
ROUNDS = 12


@pytest.fixture
async def replicas(
    database_url: str, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Site]]:
    """Three replicas on one database that all think they lead."""

    async def always() -> bool:
        return True

    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(new_site(database_url, clock, tmp_path)) for _ in range(3)]
        for replica in found:
            monkeypatch.setattr(replica.app.state.leadership, "hold", always)
        yield found


@POSTGRESQL
async def test_sweeps_of_three_replicas_at_once_write_each_change_once(replicas: list[Site]) -> None:
    first = replicas[0]
    found = await agents(first, *(f"ps-{number}" for number in range(1, 6)))
    servers = {name: agent for name, agent in found.items() if name != "cs-1"}
    for _ in range(2):
        for agent in servers.values():
            await agent.beat(cpu=97.0, memory=85.0)
        for _ in range(30):
            first.manual_clock.advance(30)
            await asyncio.gather(*(agent.beat(cpu=97.0, memory=85.0) for agent in servers.values()))
        await asyncio.gather(*(replica.app.state.alert_sweep.tick() for replica in replicas))
        for name, agent in servers.items():
            assert await firing(first, name) == {"cpu-utilisation": "Critical", "memory-usage": "Warning"}
            await agent.beat()
    for name in servers:
        events = await told(first, name)
        assert sorted(events) == sorted(
            [
                ("raised", "cpu-utilisation", "Critical"),
                ("cleared", "cpu-utilisation", "Critical"),
                ("raised", "memory-usage", "Warning"),
                ("cleared", "memory-usage", "Warning"),
            ]
            * 2
        )
        assert len(await alerts(first, name)) == 4


@POSTGRESQL
async def test_sweeps_that_race_heartbeats_leave_alerts_health_and_events_in_agreement(replicas: list[Site]) -> None:
    """The heartbeat that ends a condition comes at the very moment at which it is due."""
    first, *others = replicas
    found = await agents(first, "ps-1", "ps-2")
    chooser = random.Random(3)
    for _ in range(ROUNDS):
        for name in ("ps-1", "ps-2"):
            await found[name].beat(cpu=85.0)
        for _ in range(5):
            first.manual_clock.advance(170)
            for name in ("ps-1", "ps-2"):
                await found[name].beat(cpu=85.0)
        first.manual_clock.advance(50)
        calls = [
            *(replica.app.state.alert_sweep.tick() for replica in replicas),
            found["ps-1"].beat(on=others[0], cpu=chooser.choice([10.0, 85.0, 97.0])),
            found["ps-2"].beat(on=others[1], cpu=10.0),
        ]
        chooser.shuffle(calls)
        await asyncio.gather(*calls)
        for name in ("ps-1", "ps-2"):
            shown = await firing(first, name)
            expected = "Warning" if shown else "Healthy"
            assert (await first.read_process_server(name))["health"] == expected
            await found[name].beat()
            assert await firing(first, name) == {}
    for name in ("ps-1", "ps-2"):
        kinds = [kind for kind, _, _ in await told(first, name)]
        assert kinds == ["raised", "cleared"] * (len(kinds) // 2)
        assert len(await alerts(first, name)) == len(kinds) // 2


@POSTGRESQL
async def test_looks_at_versions_at_once_tell_each_once(replicas: list[Site]) -> None:
    first = replicas[0]
    await first.vault()
    server = await first.configuration_server(agentVersion="9.50.1.1")
    for number in range(1, 6):
        agent = Agent(first, await first.process_server(server, f"ps-{number}", agentVersion="9.50.1.1"), "9.50.1.1")
        await agent.beat()
    for _ in range(3):
        await asyncio.gather(*(replica.app.state.alert_sweep.tick() for replica in replicas))
        first.manual_clock.advance(60)
    for number in range(1, 6):
        assert await told(first, f"ps-{number}") == [("raised", "version-not-supported", "Warning")]
    assert await told(first, "cs-1", "configuration-server") == [("raised", "version-not-supported", "Warning")]


@POSTGRESQL
async def test_a_policy_that_changes_under_heartbeats_and_sweeps_locks_nobody_out(replicas: list[Site]) -> None:
    first, *others = replicas
    found = await agents(first, *(f"ps-{number}" for number in range(1, 6)))
    for round_ in range(ROUNDS):
        first.manual_clock.advance(100)
        body = {"windowSeconds": 300 + round_, "rules": {"memory-usage": {"isEnabled": bool(round_ % 2)}}}
        answers = await asyncio.gather(
            first.client.patch("/api/v1/vaults/contoso/health-policy", json=body),
            *(agent.beat(on=others[round_ % 2], cpu=85.0, memory=97.0) for agent in found.values()),
            *(replica.app.state.alert_sweep.tick() for replica in replicas),
        )
        assert answers[0].status_code == 200, answers[0].text
    for agent in found.values():
        await agent.beat(cpu=85.0, memory=97.0)
    for name in ("ps-1", "ps-5"):
        shown = await firing(first, name)
        assert shown["cpu-utilisation"] == "Warning"
        kinds = [kind for kind, code, _ in await told(first, name) if code == "memory-usage"]
        assert kinds == [kind for pair in range(len(kinds)) for kind in (["raised", "cleared"][pair % 2],)]


async def test_a_sweep_does_the_work_of_more_hosts_than_one_transaction_takes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.health.tasks.HOSTS_PER_TRANSACTION", 2)
    names = [f"ps-{number}" for number in range(1, 6)]
    found = await agents(site, *names)
    for _ in range(30):
        for name in names:
            await found[name].beat(cpu=85.0)
        site.manual_clock.advance(30)
    await site.tick()
    for name in names:
        assert await firing(site, name) == {"cpu-utilisation": "Warning"}
