"""Purge against a heartbeat, a registration and a switch, a hundred times each: one consistent outcome always."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select

from app.models import Host, ProcessServer, SourceMachine
from tests.support.fleets import Fleet
from tests.support.muster import Site, registration

ROUNDS = 100
PS = "/api/v1/vaults/contoso/process-servers"
MACHINES = "/api/v1/vaults/contoso/configuration-servers/cs-1/source-machines"
TIMEOUT = 925

pytestmark = [pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True), pytest.mark.no_brake]


async def silent_fleet(site: Site) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A connected configuration server and `ROUNDS` process servers that have fallen silent."""
    await site.vault()
    made = Fleet(site)
    await made.add_site("cs-1", ROUNDS)
    server = made.registered["cs-1"]
    fleet = [{**item, "credential": made.credentials[item["name"]]} for item in await site.walk(PS, kind="scaleOut")]
    assert len(fleet) == ROUNDS
    assert {answer.status_code for answer in await asyncio.gather(*map(site.beat, fleet))} == {200}
    site.manual_clock.advance(1)
    await site.tick()
    await site.pass_time(TIMEOUT)
    assert (await site.beat(server)).status_code == 200
    return server, fleet


async def names(site: Site) -> set[str]:
    """Every process server but the inbuilt one."""
    return {item["name"] for item in await site.walk(PS)} - {"cs-1"}


async def count(site: Site, model: type[Any], *conditions: Any) -> int:
    """Rows in the database."""
    async with site.app.state.database.read() as session:
        return int((await session.execute(select(func.count()).select_from(model).where(*conditions))).scalar_one())


async def test_purge_against_a_heartbeat(site: Site) -> None:
    _, fleet = await silent_fleet(site)
    kept: set[str] = set()
    for agent in fleet:
        purged, beaten = await asyncio.gather(
            site.client.post(f"{PS}/{agent['name']}/purge", json={}), site.beat(agent, 2)
        )
        assert (purged.status_code, beaten.status_code) in {(200, 410), (409, 200)}, (purged.text, beaten.text)
        if beaten.status_code == 200:
            kept.add(agent["name"])
            assert (await site.read_process_server(agent["name"]))["connectionState"] == "Connected"
        else:
            assert (await site.beat(agent, 3)).status_code == 410
    assert await names(site) == kept
    assert await count(site, Host) == await count(site, ProcessServer) == len(kept) + 1
    types = await site.event_types()
    assert types.count("process-server.purged") == ROUNDS - len(kept)


async def test_purge_against_a_registration(site: Site) -> None:
    server, fleet = await silent_fleet(site)
    for agent in fleet:
        name = agent["name"]
        purged, registered = await asyncio.gather(
            site.client.post(f"{PS}/{name}/purge", json={}),
            site.agent_post("/agent/v1/process-servers/register", registration(server, name)),
        )
        assert purged.status_code == 200, purged.text
        assert registered.status_code in {200, 410}, registered.text
        # Whichever came first, nobody is left with a credential that works, or with a row of its own.
        credentials = [agent, *([registered.json()] if registered.status_code == 200 else [])]
        for credential in credentials:
            assert (await site.beat(credential, 5)).status_code == 410
    assert await names(site) == set()
    assert await count(site, Host) == await count(site, ProcessServer) == 1


async def test_purge_against_a_switch(site: Site) -> None:
    server, fleet = await silent_fleet(site)
    targets = [await site.process_server(server, f"target-{number}") for number in range(2)]
    for target in targets:
        assert (await site.beat(target)).status_code == 200
    for number, agent in enumerate(fleet):
        name, machine = agent["name"], f"web-{number:03}"
        await site.source_machine(agent["id"], machine)
        body = {"switchTo": "target-0"} if number % 2 else {}
        purged, moved = await asyncio.gather(
            site.client.post(f"{PS}/{name}/purge", json=body),
            site.client.put(f"{MACHINES}/{machine}", json={"processServer": "target-1", "churnInBytesPerDay": 0}),
        )
        assert moved.status_code == 200, moved.text
        assert purged.status_code in {200, 409}, purged.text
        found = (await site.client.get(f"{MACHINES}/{machine}")).json()
        assert found["processServer"] == "target-1", "the last word is the switch's, or nobody asked for another"
        if purged.status_code == 409:
            assert (await site.client.post(f"{PS}/{name}/purge", json={})).status_code == 200
    assert await names(site) == {"target-0", "target-1"}
    assert await count(site, SourceMachine) == ROUNDS
    orphans = SourceMachine.process_server_id.not_in(select(ProcessServer.id))
    assert await count(site, SourceMachine, orphans) == 0
