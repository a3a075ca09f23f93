"""Whole loads: why a target can't take them, and moving them. Purge and decommission stand on this."""

import uuid
from typing import Any

import pytest

from app.core.db import Database
from app.events.service import Resource
from app.jobs import service as jobs
from app.models import ProcessServer
from app.source_machines import moves
from app.vocabulary import JobType, ResourceKind
from tests.support.machines import GB, MACHINES, SERVER, SMALL, Servers, connected_servers
from tests.support.muster import Site, problem
from tests.support.rows import host_row


@pytest.fixture
async def servers(site: Site) -> Servers:
    """Two small process servers that are connected."""
    found = await connected_servers(site, ps_1=SMALL, ps_2=SMALL)
    del found["cs-1"]
    return found


async def problems(site: Site, servers: Servers) -> list[dict[str, Any]]:
    """What keeps ps-2 from taking all that ps-1 carries."""
    database: Database = site.app.state.database
    async with database.read() as session:
        pair = [await session.get_one(ProcessServer, uuid.UUID(servers[name]["id"])) for name in ("ps-1", "ps-2")]
        return await moves.fit_problems(session, pair[0], pair[1], site.clock.now())


async def move_all(site: Site, servers: Servers) -> int:
    """Move all that ps-1 carries to ps-2."""
    database: Database = site.app.state.database
    async with database.write() as session:
        pair = [await session.get_one(ProcessServer, uuid.UUID(servers[name]["id"])) for name in ("ps-1", "ps-2")]
        now = site.clock.now()
        return await moves.move_all(session, pair[0], pair[1], "token:alice", now, reason="burnt down")


async def decommission(site: Site, server: dict[str, Any]) -> uuid.UUID:
    """An open job that asks a process server to leave."""
    database: Database = site.app.state.database
    async with database.write() as session:
        row = await session.get_one(ProcessServer, uuid.UUID(server["id"]))
        job = await jobs.create(
            session,
            vault_id=row.vault_id,
            type=JobType.DECOMMISSION,
            resource=Resource(ResourceKind.PROCESS_SERVER, row.id, row.name),
            requested_by="token:alice",
            now=site.clock.now(),
        )
        return job.id


async def test_all_machines_move_at_once(site: Site, servers: Servers, database: Database) -> None:
    await site.source_machine(servers["ps-2"]["id"], "there-already")
    for number in range(3):
        await site.source_machine(servers["ps-1"]["id"], f"sql-{number}", GB)
    before = {name: (await host_row(database, registered)).generation for name, registered in servers.items()}
    etags = [(await site.client.get(f"{MACHINES}/sql-0")).headers["etag"]]
    assert await problems(site, servers) == []
    assert await move_all(site, servers) == 3
    assert (await site.read_process_server("ps-1"))["sourceMachineCount"] == 0
    assert (await site.read_process_server("ps-2"))["sourceMachineCount"] == 4
    moved = await site.events(type="source-machine.moved")
    assert sorted(event["resource"]["name"] for event in moved) == ["sql-0", "sql-1", "sql-2"]
    assert {event["actor"] for event in moved} == {"token:alice"}
    assert moved[0]["data"] == {"from": "ps-1", "to": "ps-2", "reason": "burnt down"}
    for name, registered in servers.items():
        assert (await host_row(database, registered)).generation == before[name] + 1
    etags.append((await site.client.get(f"{MACHINES}/sql-0")).headers["etag"])
    assert etags[0] != etags[1]


async def test_moving_nothing_tells_nobody(site: Site, servers: Servers, database: Database) -> None:
    before = {name: (await host_row(database, registered)).generation for name, registered in servers.items()}
    assert await move_all(site, servers) == 0
    assert await site.events(type="source-machine.moved") == []
    for name, registered in servers.items():
        assert (await host_row(database, registered)).generation == before[name]


@pytest.mark.no_brake
async def test_a_dead_source_is_no_obstacle_a_dead_target_is(site: Site, servers: Servers) -> None:
    await site.source_machine(servers["ps-1"]["id"], "sql-1")
    await site.pass_time(1_000)
    assert [found["code"] for found in await problems(site, servers)] == ["disconnected"]
    await site.beat(servers["ps-2"], 2)
    assert (await site.read_process_server("ps-1"))["connectionState"] == "Disconnected"
    assert await problems(site, servers) == []


async def test_the_whole_load_must_fit(site: Site, servers: Servers) -> None:
    for number in range(2):
        await site.source_machine(servers["ps-1"]["id"], f"sql-{number}", 50 * GB)
    await site.source_machine(servers["ps-2"]["id"], "big", 150 * GB)
    assert await problems(site, servers) == []
    await site.source_machine(servers["ps-1"]["id"], "one-byte", 1)
    (found,) = await problems(site, servers)
    assert found["code"] == "over-capacity"
    assert "the limit is 250 GB" in found["detail"]
    assert found["present"] == {"sourceMachines": 1, "churnInBytesPerDay": 150 * GB}
    assert found["added"] == {"sourceMachines": 3, "churnInBytesPerDay": 100 * GB + 1}
    assert found["limit"] == {"sourceMachines": 85, "churnInBytesPerDay": 250 * GB}


@pytest.mark.no_brake
async def test_every_problem_is_named(site: Site, servers: Servers) -> None:
    await site.source_machine(servers["ps-1"]["id"], "sql-1", 251 * GB)
    await site.beat(servers["ps-2"], 2, agentVersion="9.63.0.0")
    await site.client.patch(f"{SERVER}/process-servers/ps-2", json={"maintenance": {}})
    await decommission(site, servers["ps-2"])
    await site.pass_time(1_000)
    assert [found["code"] for found in await problems(site, servers)] == [
        "disconnected",
        "in-maintenance",
        "version-above-configuration-server",
        "being-decommissioned",
        "over-capacity",
    ]


async def test_a_server_that_leaves_takes_no_new_machines(site: Site, servers: Servers) -> None:
    job_id = await decommission(site, servers["ps-1"])
    body = {"processServer": "ps-1", "churnInBytesPerDay": 0}
    refused = problem(await site.client.put(f"{MACHINES}/sql-1", json=body), 409, "target-not-fit")
    assert [blocker["code"] for blocker in refused["blockers"]] == ["being-decommissioned"]
    await site.client.post(f"/api/v1/vaults/contoso/jobs/{job_id}/cancel")
    assert (await site.client.put(f"{MACHINES}/sql-1", json=body)).status_code == 201
