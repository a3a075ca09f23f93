"""Registering again, upgrading and a new passphrase: identity, assignments and maintenance stay; events tell."""

from typing import Any

import pytest

from tests.support.muster import VERSION, Site, machine, problem, registration

CS = "/agent/v1/configuration-servers/register"
PS = "/agent/v1/process-servers/register"
OLDER = "9.61.7016.1"


async def family(site: Site) -> tuple[dict[str, Any], dict[str, Any]]:
    """A configuration server and a process server with a machine, in maintenance."""
    await site.vault()
    server = await site.configuration_server()
    agent = await site.process_server(server, agentVersion=OLDER)
    await site.beat(server)
    await site.beat(agent, agentVersion=OLDER)
    await site.source_machine(agent["id"], "web-01")
    answer = await site.client.patch(
        "/api/v1/vaults/contoso/process-servers/ps-1",
        json={"friendlyName": "Rack 4", "maintenance": {"isEnabled": True, "reason": "disk exchange"}},
    )
    assert answer.status_code == 200
    return server, agent


async def test_re_registration_keeps_identity_assignments_and_maintenance(site: Site) -> None:
    server, agent = await family(site)
    before = await site.read_process_server()
    body = registration(server, "ps-1", agentVersion=OLDER, ipAddresses=["10.9.9.9"], dataTransferPort=9444)
    again = await site.agent_post(PS, body)
    assert (again.status_code, again.json()["id"]) == (200, agent["id"])
    after = await site.read_process_server()
    assert after["ipAddresses"] == ["10.9.9.9"]
    assert after["dataTransferPort"] == 9444
    kept = ("id", "name", "friendlyName", "hostId", "maintenance", "sourceMachineCount", "generation", "createdAt")
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    beat = await site.beat(again.json(), 2, agentVersion=OLDER)
    assert beat.json()["desired"]["sourceMachines"] == ["web-01"]
    assert beat.json()["desired"]["maintenance"]["isEnabled"] is True
    types = await site.event_types()
    assert types.count("process-server.re-registered") == 1
    assert "process-server.upgraded" not in types
    assert types.count("process-server.registered") == 2


async def test_the_old_credential_serves_until_the_fresh_one_is_used(site: Site) -> None:
    server, agent = await family(site)
    again = (await site.agent_post(PS, registration(server, "ps-1", agentVersion=OLDER))).json()
    assert (await site.beat(agent, 2, agentVersion=OLDER)).status_code == 200
    assert (await site.beat(again, 3, agentVersion=OLDER)).status_code == 200
    assert (await site.beat(agent, 4, agentVersion=OLDER)).status_code == 401


@pytest.mark.parametrize("by", ["heartbeat", "registration"])
async def test_an_upgrade_of_a_process_server_is_an_event_however_it_is_told(site: Site, by: str) -> None:
    server, agent = await family(site)
    if by == "heartbeat":
        await site.beat(agent, 2, agentVersion=VERSION)
    else:
        agent = (await site.agent_post(PS, registration(server, "ps-1", agentVersion=VERSION))).json()
        await site.beat(agent, 2, agentVersion=VERSION)
    upgraded = await site.events(type="process-server.upgraded")
    assert [event["data"] for event in upgraded] == [{"previousVersion": OLDER, "agentVersion": VERSION}]
    assert upgraded[0]["message"] == f"process server ps-1 went from version {OLDER} to {VERSION}"
    assert upgraded[0]["actor"] == "agent:ps-1"
    assert (await site.read_process_server())["agentVersion"] == VERSION


async def test_an_upgrade_of_a_configuration_server_at_re_registration_is_an_event(site: Site) -> None:
    await family(site)
    key = await site.registration_key()
    newer = "9.63.0.0"
    again = await site.agent_post(CS, {"registrationKey": key, **machine("cs-1"), "agentVersion": newer})
    assert again.status_code == 200
    upgraded = await site.events(type="configuration-server.upgraded")
    assert [event["data"] for event in upgraded] == [{"previousVersion": VERSION, "agentVersion": newer}]
    assert (await site.event_types()).count("configuration-server.re-registered") == 1


async def test_a_new_passphrase_lets_registered_servers_go_on(site: Site) -> None:
    server, agent = await family(site)
    answer = await site.client.post("/api/v1/vaults/contoso/configuration-servers/cs-1/passphrase")
    assert answer.status_code == 200
    assert (await site.beat(agent, 2, agentVersion=OLDER)).status_code == 200
    problem(await site.agent_post(PS, registration(server, "ps-2")), 401, "passphrase-refused")
    problem(await site.agent_post(PS, registration(server, "ps-1", agentVersion=OLDER)), 401, "passphrase-refused")
    renewed = {**server, "passphrase": answer.json()["passphrase"]}
    again = await site.agent_post(PS, registration(renewed, "ps-1", agentVersion=OLDER))
    assert (again.status_code, again.json()["id"]) == (200, agent["id"])
    assert (await site.agent_post(PS, registration(renewed, "ps-2"))).status_code == 201
    changed = await site.events(type="configuration-server.passphrase-changed")
    assert len(changed) == 1
    assert answer.json()["passphrase"] not in str(await site.events())
