"""Process servers as operators see, filter and change them."""

from datetime import timedelta
from typing import Any

import pytest

from app.core.wire import rfc3339
from tests.support.muster import TELEMETRY, VERSION, Site, machine, pointers, problem

VAULT = "/api/v1/vaults/contoso"
ACROSS = f"{VAULT}/process-servers"
NESTED = f"{VAULT}/configuration-servers/cs-1/process-servers"


@pytest.fixture
async def server(site: Site) -> dict[str, Any]:
    """A configuration server in the vault contoso."""
    await site.vault()
    return await site.configuration_server()


async def test_a_process_server_is_shown_in_full(site: Site, server: dict[str, Any]) -> None:
    registered = await site.process_server(server, "PS-1", kind="failback", dataTransferPort=9444)
    await site.beat(registered, 3, telemetry=TELEMETRY, services={"tmansvc": "Stopped"})
    await site.source_machine(registered["id"], "web-1")
    now, told = rfc3339(site.clock.now()), machine("PS-1")
    seen = (await site.client.get(f"{ACROSS}/ps-1")).json()
    assert seen == {
        "id": registered["id"],
        "name": "ps-1",
        "friendlyName": "ps-1",
        "kind": "failback",
        "vault": "contoso",
        "configurationServer": "cs-1",
        "dataTransferPort": 9444,
        "sourceMachineCount": 1,
        "maintenance": {"isEnabled": False, "until": None, "reason": None},
        "hostId": told["hostId"],
        "fqdn": "ps-1.corp.example",
        "ipAddresses": ["10.150.24.120"],
        "os": told["os"],
        "hardware": told["hardware"],
        "agentVersion": VERSION,
        "versionStatus": "Supported",
        "updateAvailable": False,
        "connectionState": "Connected",
        "lastHeartbeat": now,
        "sequence": 3,
        "health": "Healthy",
        "healthErrors": [],
        "telemetry": TELEMETRY,
        "services": {"tmansvc": "Stopped"},
        "generation": 1,
        "observedGeneration": 0,
        "createdAt": now,
        "updatedAt": now,
    }
    for path in (f"{ACROSS}/PS-1", f"{ACROSS}/{registered['id']}", f"{NESTED}/Ps-1", f"{NESTED}/{registered['id']}"):
        assert (await site.client.get(path)).json() == seen
    nested_by_id = f"{VAULT}/configuration-servers/{server['id'].upper()}/process-servers"
    assert [entry["name"] for entry in await site.walk(nested_by_id)] == ["cs-1", "ps-1"]


async def test_before_its_first_heartbeat_everything_is_unknown(site: Site, server: dict[str, Any]) -> None:
    await site.process_server(server)
    seen = await site.read_process_server()
    assert (seen["connectionState"], seen["health"], seen["lastHeartbeat"]) == ("Disconnected", "Critical", None)
    assert set(seen["telemetry"].values()) == {None}
    assert (seen["services"], seen["sequence"]) == ({}, 0)
    (error,) = seen["healthErrors"]
    assert (error["code"], error["severity"], error["since"], error["value"]) == (
        "heartbeat-missing", "Critical", None, None,
    )  # fmt: skip


async def test_an_unknown_process_server_is_404(site: Site, server: dict[str, Any]) -> None:
    other = await site.configuration_server(name="cs-2")
    registered = await site.process_server(other, "ps-2")
    for path in (f"{ACROSS}/none", f"{NESTED}/none", f"{NESTED}/ps-2", f"{NESTED}/{registered['id']}"):
        problem(await site.client.get(path), 404, "process-server-not-found")
        problem(await site.client.patch(path, json={}), 404, "process-server-not-found")


async def test_a_name_in_two_places_is_ambiguous(site: Site, server: dict[str, Any]) -> None:
    other = await site.configuration_server(name="cs-2")
    first = await site.process_server(server, "ps-1")
    second = await site.process_server(other, "ps-1", hostId="another-host", instanceId="another")
    for answer in (
        await site.client.get(f"{ACROSS}/PS-1"),
        await site.client.patch(f"{ACROSS}/ps-1", json={"friendlyName": "x"}),
    ):
        assert problem(answer, 409, "name-ambiguous")["candidates"] == [
            {"id": first["id"], "configurationServer": "cs-1"},
            {"id": second["id"], "configurationServer": "cs-2"},
        ]
    assert (await site.client.get(f"{ACROSS}/{second['id']}")).json()["configurationServer"] == "cs-2"
    answer = await site.client.patch(f"{NESTED}/ps-1", json={"friendlyName": "mine"})
    assert (answer.status_code, answer.json()["id"]) == (200, first["id"])
    assert (await site.client.get(f"{ACROSS}/{second['id']}")).json()["friendlyName"] == "ps-1"


async def test_its_friendly_name_can_be_changed(site: Site, server: dict[str, Any]) -> None:
    await site.process_server(server)
    before = await site.read_process_server()
    site.manual_clock.advance(10)
    answer = await site.client.patch(f"{ACROSS}/PS-1", json={"friendlyName": "Rack 4"})
    assert answer.json() == {**before, "friendlyName": "Rack 4", "updatedAt": rfc3339(site.clock.now())}
    event = (await site.events())[-1]
    assert (event["type"], event["data"], event["actor"]) == (
        "process-server.updated", {"friendlyName": "Rack 4"}, "token:admin",
    )  # fmt: skip
    for body in ({}, {"friendlyName": None}, {"friendlyName": "Rack 4"}, {"maintenance": None}):
        again = await site.client.patch(f"{NESTED}/ps-1", json=body)
        assert (again.json(), again.headers["etag"]) == (answer.json(), answer.headers["etag"])
    assert (await site.event_types()).count("process-server.updated") == 1
    assert pointers(await site.client.patch(f"{ACROSS}/ps-1", json={"kind": "inbuilt"})) == ["#/kind"]


async def _generation(site: Site) -> int:
    return int((await site.read_process_server())["generation"])


async def test_maintenance_ends_by_itself(site: Site, server: dict[str, Any]) -> None:
    registered = await site.process_server(server)
    await site.beat(registered, 1, observedGeneration=1)
    until = rfc3339(site.clock.now() + timedelta(hours=1))
    body = {"maintenance": {"until": until, "reason": "disk exchange"}}
    answer = await site.client.patch(f"{ACROSS}/ps-1", json=body)
    assert answer.status_code == 200, answer.text
    wanted = {"isEnabled": True, "until": until, "reason": "disk exchange"}
    assert answer.json()["maintenance"] == wanted
    assert answer.json()["generation"] == 2
    assert (await site.events())[-1]["data"] == {"maintenance": wanted}
    desired = (await site.beat(registered, 2, observedGeneration=1)).json()["desired"]
    assert desired["maintenance"] == {"isEnabled": True, "until": until}
    assert "desired" not in (await site.beat(registered, 3, observedGeneration=2)).json()
    site.manual_clock.advance(3_599)
    assert (await site.read_process_server())["maintenance"]["isEnabled"] is True
    site.manual_clock.advance(1)
    over = {"isEnabled": False, "until": None, "reason": None}
    assert (await site.read_process_server())["maintenance"] == over
    assert [entry["maintenance"] for entry in await site.walk(ACROSS, q="ps-1")] == [over]
    agent = site.with_token(registered["credential"])
    assert (await agent.get("/agent/v1/desired-state")).json()["maintenance"] == {"isEnabled": False, "until": None}


@pytest.mark.parametrize("end", [None, {"isEnabled": False}])
async def test_maintenance_lasts_until_it_is_ended(site: Site, server: dict[str, Any], end: Any) -> None:
    await site.process_server(server)
    await site.client.patch(f"{ACROSS}/ps-1", json={"maintenance": {}})
    assert await _generation(site) == 2
    site.manual_clock.advance(10 * 365 * 86_400)
    assert (await site.read_process_server())["maintenance"] == {"isEnabled": True, "until": None, "reason": None}
    again = await site.client.patch(f"{ACROSS}/ps-1", json={"maintenance": {"isEnabled": True}})
    assert again.json()["generation"] == 2
    await site.client.patch(f"{ACROSS}/ps-1", json={"friendlyName": "other"})
    assert await _generation(site) == 2
    answer = await site.client.patch(f"{ACROSS}/ps-1", json={"maintenance": end})
    assert answer.json()["maintenance"] == {"isEnabled": False, "until": None, "reason": None}
    assert await _generation(site) == 3


async def test_wrong_maintenance_is_refused(site: Site, server: dict[str, Any]) -> None:
    await site.process_server(server)
    now = site.clock.now()
    for maintenance, pointer in (
        ({"until": rfc3339(now)}, "#/maintenance/until"),
        ({"until": rfc3339(now - timedelta(days=1))}, "#/maintenance/until"),
        ({"until": "2027-01-01T00:00:00"}, "#/maintenance/until"),
        ({"until": "soon"}, "#/maintenance/until"),
        ({"until": "9999-12-31T23:59:59-14:00"}, "#/maintenance/until"),
        ({"isEnabled": "yes"}, "#/maintenance/isEnabled"),
        ({"isEnabled": 1}, "#/maintenance/isEnabled"),
        ({"reason": "x" * 2_001}, "#/maintenance/reason"),
        ({"reason": "a\u0000b"}, "#/maintenance/reason"),
        ({"for": 3}, "#/maintenance/for"),
        (True, "#/maintenance"),
    ):
        answer = await site.client.patch(f"{ACROSS}/ps-1", json={"maintenance": maintenance})
        assert pointers(answer) == [pointer], maintenance
    assert await _generation(site) == 1
    assert "process-server.updated" not in await site.event_types()


async def test_a_time_in_another_zone_is_the_same_time(site: Site, server: dict[str, Any]) -> None:
    await site.process_server(server)
    answer = await site.client.patch(f"{ACROSS}/ps-1", json={"maintenance": {"until": "2026-01-02T02:00:00+02:00"}})
    assert answer.json()["maintenance"]["until"] == "2026-01-02T00:00:00.000Z"


async def test_process_servers_are_filtered(site: Site, server: dict[str, Any]) -> None:
    other = await site.configuration_server(name="cs-2", ipAddresses=["10.9.9.9"])
    first = await site.process_server(server, "ps-a", ipAddresses=["10.150.77.1"])
    await site.process_server(server, "ps-b", agentVersion="9.58.1.1", fqdn="West.corp.example")
    await site.process_server(other, "ps-c", kind="failback", agentVersion="9.40.1.1")
    await site.client.patch(f"{ACROSS}/ps-c", json={"friendlyName": "Rotterdam 50%"})
    await site.beat(first)
    await site.beat(other)
    await site.vault("elsewhere")
    await site.process_server(await site.configuration_server("elsewhere", "cs-9"), "ps-z")

    async def names(**query: str) -> list[str]:
        return [entry["name"] for entry in await site.walk(ACROSS, **query)]

    assert await names() == ["cs-1", "cs-2", "ps-a", "ps-b", "ps-c"]
    assert await names(connectionState="Connected") == ["cs-2", "ps-a"]
    assert await names(connectionState="Disconnected") == ["cs-1", "ps-b", "ps-c"]
    assert await names(health="Healthy") == ["cs-2", "ps-a"]
    assert await names(health="Critical") == ["cs-1", "ps-b", "ps-c"]
    assert await names(health="Warning") == []
    assert await names(versionStatus="Supported") == ["cs-1", "cs-2", "ps-a"]
    assert await names(versionStatus="Deprecated") == ["ps-b"]
    assert await names(versionStatus="NotSupported") == ["ps-c"]
    assert await names(versionStatus="UpdateRequired") == []
    assert await names(kind="inbuilt") == ["cs-1", "cs-2"]
    assert await names(kind="scaleOut") == ["ps-a", "ps-b"]
    assert await names(kind="failback") == ["ps-c"]
    assert await names(configurationServer="CS-2") == ["cs-2", "ps-c"]
    assert await names(configurationServer=other["id"]) == ["cs-2", "ps-c"]
    assert await names(configurationServer="none") == []
    assert await names(q="PS-") == ["ps-a", "ps-b", "ps-c"]
    assert await names(q="rotter") == ["ps-c"]
    assert await names(q="west.corp") == ["ps-b"]
    assert await names(q="10.150.77") == ["ps-a"]
    assert await names(q="0%") == ["ps-c"]
    assert await names(q="s_a") == []
    assert await names(kind="inbuilt", connectionState="Connected", health="Healthy", q="cs") == ["cs-2"]
    assert await names(configurationServer="cs-1", versionStatus="Supported", kind="scaleOut") == ["ps-a"]
    assert await names(configurationServer="cs-2", versionStatus="Supported", kind="scaleOut") == []
    assert await names(limit="2", orderBy="-name", kind="scaleOut") == ["ps-b", "ps-a"]
    nested = [entry["name"] for entry in await site.walk(NESTED, connectionState="Connected")]
    assert nested == ["ps-a"]
    for query in ("connectionState=connected", "health=x", "versionStatus=x", "kind=x", "orderBy=kind"):
        assert pointers(await site.client.get(f"{ACROSS}?{query}")) == [f"#/query/{query.split('=')[0]}"]


async def test_a_new_release_changes_the_filter_at_once(site: Site, server: dict[str, Any]) -> None:
    from app.models import Release

    async with site.app.state.database.write() as session:
        session.add(Release(version="9.70.1.1", name="rollup 80", is_withdrawn=False, needs_security_update=False))
    assert await site.walk(ACROSS, versionStatus="Supported") == []
    (seen,) = await site.walk(ACROSS, versionStatus="NotSupported")
    assert (seen["versionStatus"], seen["updateAvailable"]) == ("NotSupported", True)
