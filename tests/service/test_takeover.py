"""A rebuilt machine (same name, new host id) takes a process server's place once an operator has approved it."""

import asyncio
from typing import Any

import httpx

from app.core.db import Database
from app.models import Host, ProcessServer
from tests.support.muster import Site, pointers, problem, registration
from tests.support.rows import count

PS = "/agent/v1/process-servers/register"
IN_VAULT = "/api/v1/vaults/contoso/process-servers"
SILENT_SECONDS = 905


async def silent_server(site: Site) -> tuple[dict[str, Any], dict[str, Any]]:
    """A configuration server and its process server `ps-1` with two machines, silent for too long."""
    await site.vault()
    server = await site.configuration_server()
    agent = await site.process_server(server)
    await site.beat(agent)
    for name in ("web-01", "web-02"):
        await site.source_machine(agent["id"], name)
    await site.pass_time(SILENT_SECONDS)
    return server, agent


async def approve(site: Site, name: str = "ps-1", **body: Any) -> httpx.Response:
    """The operator's approval."""
    return await site.client.post(f"{IN_VAULT}/{name}/takeover", json=body or None)


def rebuilt(server: dict[str, Any], host_id: str = "new-host", **changes: Any) -> dict[str, Any]:
    """The registration of the machine `ps-1`, built anew."""
    return registration(server, "ps-1", hostId=host_id, instanceId=f"instance-{host_id}", **changes)


async def test_a_rebuilt_machine_is_refused_and_told_the_remedy(site: Site) -> None:
    server, _ = await silent_server(site)
    refused = problem(await site.agent_post(PS, rebuilt(server)), 409, "name-in-use-by-another-host")
    assert "have an operator approve the takeover" in refused["detail"]
    assert "choose another name" in refused["detail"]


async def test_once_approved_it_inherits_identity_machines_and_history(site: Site, database: Database) -> None:
    server, agent = await silent_server(site)
    await site.client.patch(f"{IN_VAULT}/ps-1", json={"friendlyName": "Rack 4", "maintenance": {"isEnabled": True}})
    before = await site.read_process_server()
    approved = await approve(site, validHours=2)
    assert approved.status_code == 200, approved.text
    assert approved.json() | {"until": None} == {
        "id": agent["id"],
        "name": "ps-1",
        "configurationServer": "cs-1",
        "presentHostId": before["hostId"],
        "hostId": None,
        "until": None,
    }
    answer = await site.agent_post(PS, rebuilt(server, dataTransferPort=9444))
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == agent["id"]

    after = await site.read_process_server()
    assert after["hostId"] == "new-host"
    assert after["generation"] == before["generation"] + 1
    assert after["observedGeneration"] == 0
    assert (after["friendlyName"], after["dataTransferPort"]) == ("Rack 4", 9444)
    assert after["maintenance"] == before["maintenance"]
    assert after["sourceMachineCount"] == 2
    assert after["createdAt"] == before["createdAt"]
    beat = await site.beat(answer.json(), boot_id="boot-2")
    assert beat.json()["desired"]["sourceMachines"] == ["web-01", "web-02"]
    assert (await site.read_process_server())["connectionState"] == "Connected"

    old = problem(await site.beat(agent, 2), 410, "purged")
    assert old["reason"].startswith("taken over")
    assert await count(database, Host) == 2
    assert await count(database, ProcessServer) == 2
    events = {event["type"]: event for event in await site.events() if event["resource"]["id"] == agent["id"]}
    assert events["process-server.takeover-approved"]["actor"].startswith("token:")
    taken = events["process-server.taken-over"]
    assert (taken["data"]["hostId"], taken["data"]["previousHostId"]) == ("new-host", before["hostId"])
    assert "process-server.registered" in events, "the history is the server's"


async def test_the_approval_is_good_once(site: Site) -> None:
    server, _ = await silent_server(site)
    await approve(site)
    assert (await site.agent_post(PS, rebuilt(server))).status_code == 200
    assert (await site.agent_post(PS, rebuilt(server))).status_code == 200, "the same machine again is known"
    refused = problem(await site.agent_post(PS, rebuilt(server, "third")), 409, "name-in-use-by-another-host")
    assert "no takeover is approved" in refused["detail"]


async def test_the_approval_expires(site: Site) -> None:
    server, _ = await silent_server(site)
    await approve(site, validHours=1)
    site.manual_clock.advance(3_600)
    refused = problem(await site.agent_post(PS, rebuilt(server)), 409, "name-in-use-by-another-host")
    assert "has expired" in refused["detail"]


async def test_an_approval_can_be_for_one_host_id(site: Site) -> None:
    server, _ = await silent_server(site)
    path = "/api/v1/vaults/contoso/configuration-servers/cs-1/process-servers/ps-1/takeover"
    approved = await site.client.post(path, json={"hostId": "new-host"})
    assert approved.json()["hostId"] == "new-host"
    refused = problem(await site.agent_post(PS, rebuilt(server, "impostor")), 409, "name-in-use-by-another-host")
    assert "approved for host new-host and not for host impostor" in refused["detail"]
    assert (await site.agent_post(PS, rebuilt(server))).status_code == 200


async def test_a_connected_server_is_not_taken_over(site: Site) -> None:
    server, agent = await silent_server(site)
    await approve(site)
    await site.beat(agent, 2)  # it was not dead after all
    refused = problem(await site.agent_post(PS, rebuilt(server)), 409, "name-in-use-by-another-host")
    assert "it is connected" in refused["detail"]
    assert "Disconnected" in problem(await approve(site), 409, "takeover-blocked")["detail"]
    assert (await site.beat(agent, 3)).status_code == 200


async def test_what_can_not_be_approved(site: Site) -> None:
    server, agent = await silent_server(site)
    assert "inbuilt" in problem(await approve(site, "cs-1"), 409, "takeover-blocked")["detail"]
    present = (await site.read_process_server())["hostId"]
    assert pointers(await approve(site, hostId=present)) == ["#/hostId"]
    for hours in (0, 721, "1"):
        assert pointers(await approve(site, validHours=hours)) == ["#/validHours"]
    problem(await approve(site, "nobody"), 404, "process-server-not-found")
    inbuilt = problem(
        await site.agent_post(PS, registration(server, "cs-1", hostId="x")), 409, "name-in-use-by-another-host"
    )
    assert "inbuilt" in inbuilt["detail"]
    assert agent["id"] == (await site.read_process_server())["id"]


async def test_another_version_is_an_upgrade_and_above_the_configuration_server_is_refused(site: Site) -> None:
    server, _ = await silent_server(site)
    await approve(site)
    above = await site.agent_post(PS, rebuilt(server, agentVersion="9.63.0.0"))
    problem(above, 409, "version-above-configuration-server")
    assert (await site.agent_post(PS, rebuilt(server, agentVersion="9.61.7016.1"))).status_code == 200
    upgraded = await site.events(type="process-server.upgraded")
    assert [event["data"]["agentVersion"] for event in upgraded] == ["9.61.7016.1"]


async def test_a_decommission_does_not_pass_to_the_rebuilt_machine(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    agent = await site.process_server(server)
    await site.beat(server)
    await site.beat(agent)
    job = (await site.client.post(f"{IN_VAULT}/ps-1/decommission")).json()["id"]
    await site.pass_time(SILENT_SECONDS)
    await approve(site)
    new = (await site.agent_post(PS, rebuilt(server))).json()
    ended = (await site.client.get(f"/api/v1/vaults/contoso/jobs/{job}")).json()
    assert (ended["state"], ended["error"]["code"]) == ("Failed", "taken-over")
    assert (await site.beat(new)).json()["desired"]["actions"] == []


async def test_of_two_new_machines_at_once_one_wins(site: Site, database: Database) -> None:
    server, agent = await silent_server(site)
    for turn in range(5):
        await approve(site)
        bodies = [rebuilt(server, f"host-{turn}-{number}") for number in range(4)]
        answers = await asyncio.gather(*(site.agent_post(PS, body) for body in bodies))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
        assert await count(database, Host) == 2
        assert (await site.read_process_server())["id"] == agent["id"]
    assert (await site.event_types()).count("process-server.taken-over") == 5


async def test_a_takeover_against_the_old_machine_s_heartbeat(site: Site, database: Database) -> None:
    """Either the old machine is back and stays, or the new one has its place: never two, never none."""
    server, old = await silent_server(site)
    sequence = 1
    for turn in range(10):
        await approve(site)
        sequence += 1
        beat, taken = await asyncio.gather(
            site.beat(old, sequence), site.agent_post(PS, rebuilt(server, f"host-{turn}"))
        )
        assert (beat.status_code, taken.status_code) in {(200, 409), (410, 200)}, (beat.text, taken.text)
        assert await count(database, Host) == 2
        if taken.status_code == 200:
            old = taken.json()
        else:
            await site.pass_time(SILENT_SECONDS)
