"""Acknowledged heartbeats survive the death of the control plane, and its agents need no hand."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select

from app.agent.heartbeat import Agent
from app.agent.registration import RegistrationRequest, register
from app.agent.state import Settings
from app.agent.store import MemoryStateStore
from app.agent.telemetry import Reading
from app.core.db import Database
from app.core.migrations import upgrade_blocking
from app.models import Host
from tests.support.muster import VERSION
from tests.support.postgres import PostgresServer
from tests.support.server import MusterServer

AGENTS = 200
BEATS_BEFORE = 4
BEATS_AFTER = 3


class Source:
    """The same telemetry each time."""

    async def read(self) -> Reading:
        """A reading."""
        return Reading({"cpuPercentage": 12.5}, None, ("10.0.0.9",))


def request(url: str, number: int, secret: str) -> RegistrationRequest:
    """Agent 0 is the configuration server, the others are its process servers."""
    is_server = number == 0
    return RegistrationRequest(
        server_mode="CS" if is_server else "PS",
        settings=Settings(url=url, agent_version=VERSION, ip_addresses=("10.0.0.9",)),
        name="cs-1" if is_server else f"ps-{number:03}",
        fqdn=f"host-{number}.corp.example",
        instance_id=f"instance-{number}",
        ip_addresses=("10.0.0.9",),
        agent_version=VERSION,
        os={"type": "Linux"},
        hardware={"cpuCount": 8},
        configuration_server=None if is_server else "cs-1",
        kind=None if is_server else "scaleOut",
        secret=secret,
    )


async def fleet(server: MusterServer) -> list[Agent]:
    """Every agent, registered."""
    async with server.client() as client:
        (await client.post("/api/v1/vaults", json={"name": "contoso", "location": "weu"})).raise_for_status()
        key = (await client.post("/api/v1/vaults/contoso/registration-keys")).json()["registrationKey"]
    stores = [MemoryStateStore() for _ in range(AGENTS)]
    passphrases: list[str] = []
    await register(request(server.url, 0, key), stores[0], keep_passphrase=passphrases.append)
    slots = asyncio.Semaphore(8)

    async def join(number: int) -> None:
        async with slots:
            await register(request(server.url, number, passphrases[0]), stores[number])

    await asyncio.gather(*(join(number) for number in range(1, AGENTS)))
    return [Agent(store, Source()) for store in stores]


async def until_each_has(agents: list[Agent], beats: dict[str, int]) -> None:
    """Wait until each agent has that many heartbeats acknowledged."""
    while any(agent.acknowledged_sequence < beats[agent.boot_id] for agent in agents):
        await asyncio.sleep(0.05)


@pytest.mark.timeout(150)
async def test_a_killed_server_loses_no_acknowledged_heartbeat_and_no_agent(tmp_path: Path) -> None:
    with await asyncio.to_thread(PostgresServer.start, fsync=True) as postgres:
        url = await postgres.create_database_async("crash")
        await asyncio.to_thread(upgrade_blocking, url)
        server = MusterServer(tmp_path, database_url=url, heartbeat_interval_seconds=0.3)
        await asyncio.to_thread(server.start)
        agents = await fleet(server)
        running = [asyncio.create_task(agent.run()) for agent in agents]
        try:
            await until_each_has(agents, {agent.boot_id: BEATS_BEFORE for agent in agents})
            await asyncio.to_thread(server.kill)
            acknowledged = {agent.boot_id: agent.acknowledged_sequence for agent in agents}

            await assert_stored(url, acknowledged)
            await asyncio.to_thread(server.start)
            await until_each_has(agents, {boot: beats + BEATS_AFTER for boot, beats in acknowledged.items()})

            assert not [task for task in running if task.done()]
            await asyncio.to_thread(server.kill)
            await assert_stored(url, {agent.boot_id: agent.acknowledged_sequence for agent in agents})
        finally:
            for agent in agents:
                agent.stop()
            await asyncio.gather(*running)
            await asyncio.to_thread(server.stop)


async def assert_stored(url: str, acknowledged: dict[str, int]) -> None:
    """No agent was told of a heartbeat that the database does not have."""
    database = Database(url)
    try:
        async with database.read() as session:
            rows = (await session.execute(select(Host.boot_id, Host.sequence))).all()
    finally:
        await database.close()
    stored = {row.boot_id: row.sequence for row in rows}
    assert len(stored) == AGENTS
    lost = {boot: (sequence, stored.get(boot)) for boot, sequence in acknowledged.items() if stored[boot] < sequence}
    assert not lost, lost
