"""Configuration servers as operators see, change and remove them."""

from typing import Any

import pytest

from app.core.wire import rfc3339
from tests.support.muster import TELEMETRY, VERSION, Site, machine, pointers, problem, registration

SERVERS = "/api/v1/vaults/contoso/configuration-servers"
REGISTER_PS = "/agent/v1/process-servers/register"


@pytest.fixture
async def server(site: Site) -> dict[str, Any]:
    """A registered configuration server in the vault contoso."""
    await site.vault()
    return await site.configuration_server(name="CS-1")


async def test_a_configuration_server_is_shown_in_full(site: Site, server: dict[str, Any]) -> None:
    await site.beat(server, 7, telemetry=TELEMETRY, services={"svagents": "Running"}, observedGeneration=1)
    now = rfc3339(site.clock.now())
    seen = (await site.client.get(f"{SERVERS}/cs-1")).json()
    told = machine("CS-1")
    assert seen == {
        "id": server["id"],
        "name": "cs-1",
        "friendlyName": "cs-1",
        "vault": "contoso",
        "processServerCount": 1,
        "sourceMachineCount": 0,
        "sslCertExpiryDate": "2028-12-31T00:00:00.000Z",
        "hostId": told["hostId"],
        "fqdn": "cs-1.corp.example",
        "ipAddresses": ["10.150.24.119"],
        "os": told["os"],
        "hardware": told["hardware"],
        "agentVersion": VERSION,
        "versionStatus": "Supported",
        "updateAvailable": False,
        "connectionState": "Connected",
        "lastHeartbeat": now,
        "sequence": 7,
        "health": "Healthy",
        "healthErrors": [],
        "telemetry": TELEMETRY,
        "services": {"svagents": "Running"},
        "generation": 1,
        "observedGeneration": 1,
        "createdAt": now,
        "updatedAt": now,
    }
    for ref in ("CS-1", server["id"], server["id"].upper()):
        assert (await site.client.get(f"{SERVERS}/{ref}")).json() == seen
    assert await site.walk(SERVERS) == [seen]


async def test_an_unknown_configuration_server_is_404(site: Site, server: dict[str, Any]) -> None:
    await site.vault("other")
    for method, below, body in (
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("POST", "/passphrase", None),
        ("GET", "/process-servers", None),
        ("GET", "/process-servers/ps-1", None),
        ("PATCH", "/process-servers/ps-1", {}),
    ):
        for vault, ref in (("contoso", "none"), ("other", "cs-1"), ("other", server["id"])):
            path = f"/api/v1/vaults/{vault}/configuration-servers/{ref}{below}"
            document = problem(
                await site.client.request(method, path, json=body), 404, "configuration-server-not-found"
            )
            assert f"'{ref}'" in document["detail"]


async def test_its_friendly_name_can_be_changed(site: Site, server: dict[str, Any]) -> None:
    site.manual_clock.advance(10)
    answer = await site.client.patch(f"{SERVERS}/CS-1", json={"friendlyName": "Amsterdam"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["name"], answer.json()["friendlyName"]) == ("cs-1", "Amsterdam")
    assert answer.json()["updatedAt"] == rfc3339(site.clock.now())
    event = (await site.events())[-1]
    assert (event["type"], event["data"]) == ("configuration-server.updated", {"friendlyName": "Amsterdam"})
    for body in ({"friendlyName": "Amsterdam"}, {}, {"friendlyName": None}):
        again = await site.client.patch(f"{SERVERS}/cs-1", json=body)
        assert (again.json(), again.headers["etag"]) == (answer.json(), answer.headers["etag"])
    assert (await site.event_types()).count("configuration-server.updated") == 1
    assert pointers(await site.client.patch(f"{SERVERS}/cs-1", json={"friendlyName": ""})) == ["#/friendlyName"]
    assert pointers(await site.client.patch(f"{SERVERS}/cs-1", json={"name": "x"})) == ["#/name"]


async def test_the_old_passphrase_lets_no_new_server_in(site: Site, server: dict[str, Any]) -> None:
    old = await site.process_server(server, "ps-old")
    answer = await site.client.post(f"{SERVERS}/cs-1/passphrase")
    assert answer.status_code == 200, answer.text
    new = answer.json()["passphrase"]
    assert answer.json() == {"configurationServer": "cs-1", "passphrase": new}
    assert new != server["passphrase"]
    problem(await site.agent_post(REGISTER_PS, registration(server, "ps-new")), 401, "passphrase-refused")
    problem(await site.agent_post(REGISTER_PS, registration(server, "ps-old")), 401, "passphrase-refused")
    await site.process_server({**server, "passphrase": new}, "ps-new")
    assert (await site.beat(old)).status_code == 200
    event = next(event for event in await site.events() if event["type"].endswith("passphrase-changed"))
    assert new not in str(event)
    assert event["actor"] == "token:admin"
    assert new not in (await site.client.get(f"{SERVERS}/cs-1")).text


async def test_a_passphrase_is_taken_as_people_type_it(site: Site, server: dict[str, Any]) -> None:
    spelt = server["passphrase"].upper().replace("-", " ") + "\r\n"
    await site.process_server({**server, "passphrase": spelt}, "ps-1")


async def test_a_configuration_server_without_dependants_is_deleted(site: Site, server: dict[str, Any]) -> None:
    await site.beat(server)
    site.manual_clock.advance(5)
    answer = await site.client.delete(f"{SERVERS}/Cs-1")
    assert (answer.status_code, answer.content) == (204, b"")
    problem(await site.client.get(f"{SERVERS}/cs-1"), 404, "configuration-server-not-found")
    assert await site.walk("/api/v1/vaults/contoso/process-servers") == []
    events = (await site.events())[-2:]
    assert {event["type"] for event in events} == {"configuration-server.deleted", "process-server.deleted"}
    deleted = next(event for event in events if event["type"] == "configuration-server.deleted")
    assert deleted["data"]["forced"] is False
    assert deleted["severity"] == "Information"
    gone = problem(await site.beat(server, 2), 410, "purged")
    assert gone["purgedAt"] == rfc3339(site.clock.now())
    assert gone["purgedBy"] == "token:admin"
    assert "cs-1" in gone["reason"]
    # The name and the machine are free again.
    assert (await site.configuration_server(name="cs-1"))["id"] != server["id"]


async def test_only_the_holder_of_the_credential_learns_of_the_deletion(site: Site, server: dict[str, Any]) -> None:
    await site.beat(server)
    await site.client.delete(f"{SERVERS}/cs-1")
    host = server["credential"].split(".")[0]
    problem(await site.beat(f"{host}.{'x' * 43}"), 401, "credential-refused")


async def _with_dependants(site: Site, server: dict[str, Any]) -> list[dict[str, Any]]:
    """Two process servers, one of which was heard of; three source machines, one of them on the inbuilt one."""
    process_servers = [await site.process_server(server, f"ps-{number}") for number in (1, 2)]
    await site.beat(process_servers[0])
    inbuilt = await site.read_process_server("cs-1")
    await site.source_machine(inbuilt["id"], "web-1")
    await site.source_machine(process_servers[0]["id"], "web-2")
    await site.source_machine(process_servers[1]["id"], "web-3")
    return process_servers


async def test_dependants_keep_it_and_each_is_named(site: Site, server: dict[str, Any]) -> None:
    await _with_dependants(site, server)
    document = problem(await site.client.delete(f"{SERVERS}/cs-1"), 409, "deletion-blocked")
    assert [(blocker["code"], blocker["count"]) for blocker in document["blockers"]] == [
        ("machines-assigned", 3),
        ("process-servers-registered", 2),
    ]
    assert "3 source machine(s)" in document["detail"]
    assert "2 process server(s)" in document["detail"]
    assert "configuration-server.deleted" not in await site.event_types()
    assert (await site.read_configuration_server())["processServerCount"] == 3


async def test_each_dependant_alone_keeps_it(site: Site, server: dict[str, Any]) -> None:
    await site.source_machine((await site.read_process_server("cs-1"))["id"], "web-1")
    document = problem(await site.client.delete(f"{SERVERS}/cs-1?force=false"), 409, "deletion-blocked")
    assert [blocker["code"] for blocker in document["blockers"]] == ["machines-assigned"]
    other = await site.configuration_server(name="cs-2")
    await site.process_server(other, "ps-1")
    document = problem(await site.client.delete(f"{SERVERS}/cs-2"), 409, "deletion-blocked")
    assert [blocker["code"] for blocker in document["blockers"]] == ["process-servers-registered"]


async def test_force_takes_everything_along_and_is_recorded(site: Site, server: dict[str, Any]) -> None:
    process_servers = await _with_dependants(site, server)
    bystander = await site.configuration_server(name="cs-2")
    operator = await site.caller("operator")
    problem(await operator.delete(f"{SERVERS}/cs-1?force=true"), 403, "forbidden")
    assert (await site.client.delete(f"{SERVERS}/cs-1?force=true")).status_code == 204
    event = next(event for event in await site.events() if event["type"] == "configuration-server.deleted")
    assert event["data"]["forced"] is True
    assert (event["data"]["sourceMachines"], event["data"]["processServers"]) == (3, 2)
    assert event["severity"] == "Warning"
    assert event["actor"] == "token:admin"
    assert (await site.event_types()).count("process-server.deleted") == 3
    lost = [event for event in await site.events() if event["type"] == "source-machine.deleted"]
    assert [(event["severity"], event["data"]["forced"]) for event in lost] == [("Warning", True)] * 3
    for registered in (server, *process_servers):
        document = problem(await site.beat(registered, 2), 410, "purged")
        assert "force" in document["reason"]
        agent = site.with_token(registered["credential"])
        problem(await agent.get("/agent/v1/desired-state"), 410, "purged")
    assert (await site.beat(bystander)).status_code == 200
    summary = (await site.client.get("/api/v1/vaults/contoso/summary")).json()
    assert (summary["sourceMachineCount"], summary["processServers"]["total"]) == (0, 1)
    problem(await site.agent_post(REGISTER_PS, registration(server, "ps-9")), 401, "passphrase-refused")
    assert (await site.client.delete(f"{SERVERS}/cs-2")).status_code == 204
    assert (await site.client.delete("/api/v1/vaults/contoso")).status_code == 204


@pytest.mark.parametrize("force", ["perhaps", "", "2"])
async def test_force_is_yes_or_no(site: Site, server: dict[str, Any], force: str) -> None:
    assert pointers(await site.client.delete(f"{SERVERS}/cs-1", params={"force": force})) == ["#/query/force"]


async def test_configuration_servers_are_filtered(site: Site, server: dict[str, Any]) -> None:
    await site.configuration_server(name="cs-2", agentVersion="9.58.1.1", fqdn="West.corp.example")
    await site.configuration_server(name="cs-3", agentVersion="9.40.1.1")
    await site.client.patch(f"{SERVERS}/cs-3", json={"friendlyName": "Rotterdam"})
    await site.beat(server)
    await site.vault("other")
    await site.configuration_server("other", "cs-4")

    async def names(**query: str) -> list[str]:
        return [entry["name"] for entry in await site.walk(SERVERS, **query)]

    assert await names() == ["cs-1", "cs-2", "cs-3"]
    assert await names(orderBy="-createdAt", limit="2") == ["cs-3", "cs-2", "cs-1"]
    assert await names(connectionState="Connected") == ["cs-1"]
    assert await names(connectionState="Disconnected") == ["cs-2", "cs-3"]
    assert await names(health="Critical") == ["cs-2", "cs-3"]
    assert await names(health="Healthy") == ["cs-1"]
    assert await names(health="Warning") == []
    assert await names(versionStatus="Supported") == ["cs-1"]
    assert await names(versionStatus="NotSupported") == ["cs-3"]
    assert await names(versionStatus="Deprecated") == ["cs-2"]
    assert await names(q="rotter") == ["cs-3"]
    assert await names(q="WEST") == ["cs-2"]
    assert await names(q="cs-", versionStatus="Deprecated", health="Critical") == ["cs-2"]
    assert await names(versionStatus="Deprecated", health="Healthy") == []
    for query in ("connectionState=connected", "health=bad", "versionStatus=old"):
        pointer = f"#/query/{query.split('=')[0]}"
        assert pointers(await site.client.get(f"{SERVERS}?{query}")) == [pointer]
