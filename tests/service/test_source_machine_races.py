"""Machines that are put at the same moment: never beyond a limit, never lost, never doubled."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

import httpx
import pytest

from app.core.db import Database
from app.models import SourceMachine
from tests.support.machines import GB, MACHINES, SMALL, connected_servers
from tests.support.muster import Site
from tests.support.rows import count, host_row

MACHINE_LIMIT, CHURN_LIMIT = 85, 250 * GB


@pytest.fixture
async def servers(site: Site) -> list[dict[str, Any]]:
    """Two small process servers that are connected."""
    found = await connected_servers(site, ps_1=SMALL, ps_2=SMALL)
    return [found["ps-1"], found["ps-2"]]


def put(site: Site, name: str, process_server: str = "ps-1", churn: int = 0) -> Coroutine[Any, Any, httpx.Response]:
    """A PUT that is not sent yet."""
    body = {"processServer": process_server, "churnInBytesPerDay": churn}
    return site.client.put(f"{MACHINES}/{name}", json=body)


async def statuses(requests: Sequence[Coroutine[Any, Any, httpx.Response]]) -> Counter[int]:
    """Send all at once; how often each status was answered."""
    answers = await asyncio.gather(*requests)
    refused = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert refused <= {"over-capacity"}
    return Counter(answer.status_code for answer in answers)


async def carried(site: Site, name: str) -> tuple[int, int]:
    """Machines and churn of a process server."""
    machines = await site.walk(MACHINES, processServer=name)
    return len(machines), sum(machine["churnInBytesPerDay"] for machine in machines)


async def test_of_a_hundred_machines_at_the_edge_exactly_the_limit_gets_in(
    site: Site, servers: list[dict[str, Any]], database: Database
) -> None:
    for number in range(MACHINE_LIMIT - 40):
        await site.source_machine(servers[0]["id"], f"there-{number}")
    before = (await host_row(database, servers[0])).generation
    found = await statuses([put(site, f"sql-{number}") for number in range(100)])
    assert found == {201: 40, 409: 60}
    assert await count(database, SourceMachine) == MACHINE_LIMIT
    assert (await host_row(database, servers[0])).generation == before + 40
    assert len(await site.events(type="source-machine.registered")) == 40
    sequences = [event["sequence"] for event in await site.events()]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_of_a_hundred_machines_exactly_the_churn_gets_in(site: Site, servers: list[dict[str, Any]]) -> None:
    found = await statuses([put(site, f"sql-{number}", churn=5 * GB) for number in range(100)])
    assert found == {201: 50, 409: 50}
    assert await carried(site, "ps-1") == (50, CHURN_LIMIT)


async def test_of_a_hundred_moves_exactly_the_limit_gets_through(site: Site, servers: list[dict[str, Any]]) -> None:
    for number in range(50):
        await site.source_machine(servers[0]["id"], f"sql-{number}", 10 * GB)
    found = await statuses([put(site, f"sql-{number % 50}", "ps-2", 10 * GB) for number in range(100)])
    assert found == {200: 50, 409: 50}
    assert await carried(site, "ps-2") == (25, CHURN_LIMIT)
    assert await carried(site, "ps-1") == (25, CHURN_LIMIT)
    assert len(await site.events(type="source-machine.moved")) == 25


async def test_machines_that_grow_at_once_stay_within_the_limit(site: Site, servers: list[dict[str, Any]]) -> None:
    for number in range(50):
        await site.source_machine(servers[0]["id"], f"sql-{number}", 4 * GB)
    found = await statuses([put(site, f"sql-{number}", churn=6 * GB) for number in range(50)])
    assert found == {200: 25, 409: 25}
    assert await carried(site, "ps-1") == (50, CHURN_LIMIT)


async def test_a_hundred_identical_puts_are_one_machine(
    site: Site, servers: list[dict[str, Any]], database: Database
) -> None:
    answers = await asyncio.gather(*(put(site, "sql-1", churn=GB) for _ in range(100)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 99}
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert await count(database, SourceMachine) == 1
    assert len(await site.events(type="source-machine.")) == 1


async def test_machines_that_go_to_and_fro_are_never_lost(site: Site, servers: list[dict[str, Any]]) -> None:
    """Moves in both directions, deletions, heartbeats and maintenance at once: no deadlock, no lost machine."""
    chance = random.Random(7)
    names = [f"sql-{number}" for number in range(20)]
    for name in names:
        await site.source_machine(servers[0]["id"], name, GB)
    requests: list[Any] = []
    for step in range(150):
        requests.append(put(site, chance.choice(names), chance.choice(["ps-1", "ps-2"]), GB))
        if step % 3 == 0:
            requests.append(site.beat(servers[step % 2], 2 + step))
        if step % 10 == 0:
            requests.append(site.client.delete(f"{MACHINES}/gone-{step}"))
            path = f"/api/v1/vaults/contoso/process-servers/ps-{1 + step % 2}"
            requests.append(site.client.patch(path, json={"friendlyName": f"step {step}"}))
    answers = await asyncio.gather(*requests)
    assert {answer.status_code for answer in answers} <= {200, 404}
    listed = await site.walk(MACHINES)
    assert sorted(machine["name"] for machine in listed) == sorted(names)
    total = [await carried(site, name) for name in ("ps-1", "ps-2")]
    assert sum(machines for machines, _ in total) == 20
    for registered in servers:
        desired = await site.client.get(
            "/agent/v1/desired-state", headers={"Authorization": f"Bearer {registered['credential']}"}
        )
        machines, _ = await carried(site, registered["name"])
        assert len(desired.json()["sourceMachines"]) == machines
