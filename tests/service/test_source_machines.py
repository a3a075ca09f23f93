"""Source machines: registered, described anew, moved, deleted, within what process servers carry."""

from typing import Any

import pytest

from app.core.db import Database
from app.core.wire import rfc3339
from tests.support.machines import (
    GB,
    LARGE,
    MACHINE,
    MACHINES,
    SERVER,
    SMALL,
    Servers,
    accepted,
    connected_servers,
    last_event,
    put,
)
from tests.support.muster import Site, pointers, problem
from tests.support.rows import host_row


@pytest.fixture
async def servers(site: Site) -> Servers:
    """A configuration server, and a small and a large process server; all of them are connected."""
    return await connected_servers(site, ps_1=SMALL, ps_2=LARGE)


async def generations(database: Database, servers: Servers) -> dict[str, int]:
    """The generation of each server's host."""
    return {name: (await host_row(database, registered)).generation for name, registered in servers.items()}


async def test_a_machine_is_registered(site: Site, servers: Servers, database: Database) -> None:
    before = await generations(database, servers)
    answer = await put(site, "SQL-1")
    created = accepted(answer, 201)
    now = rfc3339(site.clock.now())
    assert created == {
        "id": created["id"],
        "name": "sql-1",
        "friendlyName": "sql-1",
        "vault": "contoso",
        "configurationServer": "cs-1",
        **MACHINE,
        "versionStatus": "Supported",
        "createdAt": now,
        "updatedAt": now,
    }
    for ref in ("sql-1", "SQL-1", created["id"]):
        read = await site.client.get(f"{MACHINES}/{ref}")
        assert accepted(read, 200) == created
        assert read.headers["etag"] == answer.headers["etag"]
    event = await last_event(site)
    assert event["type"] == "source-machine.registered"
    assert event["resource"] == {"kind": "source-machine", "name": "sql-1", "id": created["id"]}
    assert event["data"] == {"processServer": "ps-1", "churnInBytesPerDay": 10 * GB, "overCapacity": False}
    assert await generations(database, servers) == {**before, "ps-1": before["ps-1"] + 1}
    assert (await site.read_process_server("ps-1"))["sourceMachineCount"] == 1


async def test_the_agent_learns_of_a_new_machine_with_its_next_heartbeat(site: Site, servers: Servers) -> None:
    observed = (await site.beat(servers["ps-1"], 2)).json()["generation"]
    accepted(await put(site), 201)
    answer = (await site.beat(servers["ps-1"], 3, observedGeneration=observed)).json()
    assert answer["generation"] == observed + 1
    assert answer["desired"]["sourceMachines"] == ["sql-1"]


async def test_only_process_server_and_churn_are_needed(site: Site, servers: Servers) -> None:
    least = await site.client.put(f"{MACHINES}/web-1", json={"processServer": "ps-1", "churnInBytesPerDay": 0})
    seen = accepted(least, 201)
    unknown = ("osType", "agentVersion", "versionStatus", "lastRebootAgentVersion")
    assert [seen[name] for name in unknown] == [None] * 4
    assert seen["disks"] == []


async def test_the_same_put_changes_nothing(site: Site, servers: Servers, database: Database) -> None:
    first = await put(site)
    before, events = await generations(database, servers), len(await site.events())
    site.manual_clock.advance(60)
    for same in (await put(site), await put(site, processServer=servers["ps-1"]["id"], friendlyName="sql-1")):
        assert accepted(same, 200) == first.json()
        assert same.headers["etag"] == first.headers["etag"]
    assert len(await site.events()) == events
    assert await generations(database, servers) == before


async def test_a_put_replaces_the_whole_record(site: Site, servers: Servers, database: Database) -> None:
    first = await put(site, friendlyName="SQL")
    before = await generations(database, servers)
    site.manual_clock.advance(60)
    second = await put(site, osType="Linux", churnInBytesPerDay=5 * GB, agentVersion=None, disks=[])
    changed = accepted(second, 200)
    assert changed == {
        **first.json(),
        "friendlyName": "sql-1",
        "osType": "Linux",
        "churnInBytesPerDay": 5 * GB,
        "agentVersion": None,
        "versionStatus": None,
        "disks": [],
        "updatedAt": rfc3339(site.clock.now()),
    }
    assert second.headers["etag"] != first.headers["etag"]
    event = await last_event(site)
    assert event["type"] == "source-machine.updated"
    assert event["data"] == {
        "friendlyName": "sql-1",
        "osType": "Linux",
        "churnInBytesPerDay": 5 * GB,
        "agentVersion": None,
        "disks": [],
        "overCapacity": False,
    }
    # What the agent is told of its machines has not changed.
    assert await generations(database, servers) == before


async def test_another_process_server_moves_the_machine(site: Site, servers: Servers, database: Database) -> None:
    first = await put(site)
    before = await generations(database, servers)
    moved = accepted(await put(site, processServer="PS-2"), 200)
    assert moved["processServer"] == "ps-2"
    assert moved["id"] == first.json()["id"]
    event = await last_event(site)
    assert event["type"] == "source-machine.moved"
    assert event["data"] == {"from": "ps-1", "to": "ps-2", "overCapacity": False}
    assert await generations(database, servers) == {
        "cs-1": before["cs-1"],
        "ps-1": before["ps-1"] + 1,
        "ps-2": before["ps-2"] + 1,
    }
    for name, machines in (("ps-1", []), ("ps-2", ["sql-1"])):
        answer = (await site.beat(servers[name], 2, observedGeneration=before[name])).json()
        assert answer["desired"]["sourceMachines"] == machines


async def test_a_move_with_other_changes_is_two_facts(site: Site, servers: Servers) -> None:
    await put(site)
    await put(site, processServer="ps-2", osType="Linux")
    assert [event["type"] for event in await site.events()][-2:] == ["source-machine.moved", "source-machine.updated"]


async def test_the_inbuilt_process_server_carries_machines_too(site: Site, servers: Servers) -> None:
    inbuilt = await site.client.get(f"{SERVER}/process-servers", params={"kind": "inbuilt"})
    name = inbuilt.json()["items"][0]["name"]
    accepted(await put(site, processServer=name), 201)


async def test_a_machine_is_deleted(site: Site, servers: Servers, database: Database) -> None:
    created = accepted(await put(site), 201)
    before = await generations(database, servers)
    answer = await site.client.delete(f"{MACHINES}/{created['id']}")
    assert answer.status_code == 204, answer.text
    problem(await site.client.get(f"{MACHINES}/sql-1"), 404, "source-machine-not-found")
    problem(await site.client.delete(f"{MACHINES}/sql-1"), 404, "source-machine-not-found")
    event = await last_event(site)
    assert event["type"] == "source-machine.deleted"
    assert event["resource"]["name"] == "sql-1"
    assert event["data"]["processServer"] == "ps-1"
    assert await generations(database, servers) == {**before, "ps-1": before["ps-1"] + 1}
    assert accepted(await put(site), 201)["id"] != created["id"]


async def test_changes_apply_to_what_their_author_saw(site: Site, servers: Servers) -> None:
    for anything in ('"x"', "*"):
        refused = await put(site, headers={"If-Match": anything})
        assert "does not exist" in problem(refused, 412, "precondition-failed")["detail"]
    first = (await put(site)).headers["etag"]
    second = await put(site, churnInBytesPerDay=GB, headers={"If-Match": first})
    accepted(second, 200)
    problem(await put(site, churnInBytesPerDay=0, headers={"If-Match": first}), 412, "precondition-failed")
    stale = await site.client.delete(f"{MACHINES}/sql-1", headers={"If-Match": first})
    problem(stale, 412, "precondition-failed")
    current = {"If-Match": second.headers["etag"]}
    assert (await site.client.delete(f"{MACHINES}/sql-1", headers=current)).status_code == 204


async def test_a_process_server_of_another_site_is_not_there(site: Site, servers: Servers) -> None:
    other = await site.configuration_server(name="cs-2")
    elsewhere = await site.process_server(other, "ps-9")
    await site.beat(elsewhere)
    for ref in ("ps-9", elsewhere["id"], "nobody"):
        refused = problem(await put(site, processServer=ref), 404, "process-server-not-found")
        assert f"'{ref}'" in refused["detail"]
        assert "'cs-1'" in refused["detail"]
    missing = f"{SERVER.removesuffix('1')}9/source-machines"
    for answer in (
        await site.client.get(missing),
        await site.client.get(f"{missing}/sql-1"),
        await site.client.put(f"{missing}/sql-1", json=MACHINE),
        await site.client.delete(f"{missing}/sql-1"),
    ):
        problem(answer, 404, "configuration-server-not-found")


async def test_one_name_may_be_used_by_two_sites(site: Site, servers: Servers) -> None:
    other = await site.configuration_server(name="cs-2")
    elsewhere = await site.process_server(other, "ps-9")
    await site.beat(elsewhere)
    first = accepted(await put(site), 201)
    path = f"{MACHINES.replace('cs-1', 'cs-2')}/sql-1"
    second = await site.client.put(path, json={**MACHINE, "processServer": "ps-9"})
    assert accepted(second, 201)["id"] != first["id"]


WRONG_MACHINES: list[tuple[dict[str, Any], str]] = [
    ({"processServer": None}, "#/processServer"),
    ({"processServer": ""}, "#/processServer"),
    ({"churnInBytesPerDay": None}, "#/churnInBytesPerDay"),
    ({"churnInBytesPerDay": -1}, "#/churnInBytesPerDay"),
    ({"churnInBytesPerDay": 1.5}, "#/churnInBytesPerDay"),
    ({"churnInBytesPerDay": "10"}, "#/churnInBytesPerDay"),
    ({"disks": [{"sizeInBytes": 0}]}, "#/disks/0/sizeInBytes"),
    ({"disks": [{"sizeInBytes": 1, "name": "c"}]}, "#/disks/0/name"),
    ({"disks": [{"sizeInBytes": 1}] * 65}, "#/disks"),
    ({"osType": "BeOS"}, "#/osType"),
    ({"agentVersion": "9.62"}, "#/agentVersion"),
    ({"lastRebootAgentVersion": "new"}, "#/lastRebootAgentVersion"),
    ({"allowOverCapacity": "yes"}, "#/allowOverCapacity"),
    ({"colour": "red"}, "#/colour"),
    ({"friendlyName": "a\x00b"}, "#/friendlyName"),
]


async def test_wrong_machines_are_refused(site: Site, servers: Servers, subtests: pytest.Subtests) -> None:
    for changes, pointer in WRONG_MACHINES:
        with subtests.test(changes=changes, pointer=pointer):
            assert pointers(await put(site, **changes)) == [pointer]


WRONG_NAMES: list[str] = ["sql_1", "a" * 64, "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f", "%C3%BC"]


async def test_wrong_names_are_refused(site: Site, servers: Servers, subtests: pytest.Subtests) -> None:
    for name in WRONG_NAMES:
        with subtests.test(name=name):
            assert pointers(await put(site, name)) == ["#/path/machine"]


async def test_machines_are_listed(site: Site, servers: Servers) -> None:
    for number, name in enumerate(("sql-2", "web-1", "sql-1")):
        await put(site, name, processServer=f"ps-{number % 2 + 1}", friendlyName=f"The {name}%")

    async def listed(**query: Any) -> list[str]:
        return [machine["name"] for machine in await site.walk(MACHINES, **query)]

    assert await listed() == ["sql-1", "sql-2", "web-1"]
    assert await listed(limit=1, orderBy="-name") == ["web-1", "sql-2", "sql-1"]
    assert await listed(limit=1, orderBy="createdAt") == ["sql-2", "web-1", "sql-1"]
    assert await listed(processServer="ps-1") == ["sql-1", "sql-2"]
    assert await listed(processServer=servers["ps-2"]["id"]) == ["web-1"]
    assert await listed(processServer="nobody") == []
    assert await listed(q="SQL") == ["sql-1", "sql-2"]
    assert await listed(q="the web") == ["web-1"]
    assert await listed(q="%") == ["sql-1", "sql-2", "web-1"]
    assert await listed(q="_") == []
    assert await listed(q="sql", processServer="ps-2") == []
    whole = await site.walk(MACHINES)
    assert whole[0] == (await site.client.get(f"{MACHINES}/sql-1")).json()
    problem(await site.client.get(MACHINES, params={"orderBy": "size"}), 422, "validation-failed")


async def test_machines_of_other_vaults_are_not_there(site: Site, servers: Servers) -> None:
    await site.vault("fabrikam")
    await put(site)
    async with await site.caller("admin", "fabrikam") as stranger:
        problem(await stranger.get(MACHINES), 404, "vault-not-found")
        problem(await stranger.put(f"{MACHINES}/sql-1", json=MACHINE), 404, "vault-not-found")
        problem(await stranger.delete(f"{MACHINES}/sql-1"), 404, "vault-not-found")


async def test_machines_count_for_their_configuration_servers_deletion(site: Site, servers: Servers) -> None:
    accepted(await put(site), 201)
    refused = problem(await site.client.delete(SERVER), 409, "deletion-blocked")
    assert refused["blockers"][0] == {
        "code": "machines-assigned",
        "detail": "1 source machine(s) use it",
        "count": 1,
    }
