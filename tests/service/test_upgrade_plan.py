"""The upgrade plan of a site."""

import uuid
from typing import Any

import pytest
from sqlalchemy import delete

from app.core.db import Database
from app.models import ConfigurationServer, ProcessServer, Release, SourceMachine
from tests.support.muster import Site, pointers, problem

PLAN = "/api/v1/vaults/contoso/configuration-servers/cs-1/upgrade-plan"
STEPS = ["9.61.7016.1", "9.62.7096.1"]


async def add_machine(
    site: Site, process_server: dict[str, Any], name: str, agent: str | None, at_last_reboot: str | None = None
) -> None:
    """A source machine with these versions, put straight into the database."""
    database: Database = site.app.state.database
    now = site.clock.now()
    async with database.write() as session:
        row = await session.get_one(ProcessServer, uuid.UUID(process_server["id"]))
        server = await session.get_one(ConfigurationServer, row.configuration_server_id)
        session.add(
            SourceMachine(
                vault_id=server.vault_id,
                configuration_server_id=server.id,
                process_server_id=row.id,
                name=name,
                friendly_name=name,
                churn_bytes_per_day=0,
                disks=[],
                agent_version=agent,
                last_reboot_agent_version=at_last_reboot,
                created_at=now,
                updated_at=now,
            )
        )


async def plan(site: Site, **query: Any) -> dict[str, Any]:
    answer = await site.client.get(PLAN, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def old_site(site: Site) -> dict[str, Any]:
    """A configuration server and a process server of 9.57; returns the process server."""
    await site.vault()
    server = await site.configuration_server(agentVersion="9.57.6920.1")
    return await site.process_server(server, agentVersion="9.57.6920.1")


async def test_the_order_the_releases_and_the_reboots_of_a_whole_site(site: Site) -> None:
    process_server = await old_site(site)
    await add_machine(site, process_server, "web-2", "9.57.6920.1", "9.57.6920.1")
    await add_machine(site, process_server, "web-1", "9.57.6920.1", "9.55.1.1")
    await add_machine(site, process_server, "db-1", "9.60.6956.1", "9.60.6956.1")
    await add_machine(site, process_server, "db-2", "9.62.7096.1", "9.62.7096.1")
    await add_machine(site, process_server, "new-1", None)
    found = await plan(site)
    server, follower = found["configurationServer"], found["processServers"][0]
    assert {key: server[key] for key in server if key != "id"} == {
        "name": "cs-1",
        "version": "9.57.6920.1",
        "versionStatus": "NotSupported",
        "connectionState": "Disconnected",
        "upgradePath": STEPS,
        "reason": None,
    }
    assert (follower["id"], follower["name"], follower["kind"]) == (process_server["id"], "ps-1", "scaleOut")
    assert (len(found["processServers"]), follower["upgradePath"], follower["reason"]) == (1, STEPS, None)
    unknown = "the version of the mobility agent on these machines is unknown"
    assert found["mobilityAgents"] == [
        {
            "version": "9.57.6920.1",
            "versionStatus": "NotSupported",
            "machineCount": 2,
            "upgradePath": STEPS,
            "reason": None,
        },
        {
            "version": "9.60.6956.1",
            "versionStatus": "Supported",
            "machineCount": 1,
            "upgradePath": ["9.62.7096.1"],
            "reason": None,
        },
        {
            "version": "9.62.7096.1",
            "versionStatus": "Supported",
            "machineCount": 1,
            "upgradePath": [],
            "reason": None,
        },
        {"version": None, "versionStatus": None, "machineCount": 1, "upgradePath": None, "reason": unknown},
    ]
    assert found["reboots"] == {
        "machineCount": 2,
        "unknownCount": 1,
        "items": [
            {
                "name": "web-1",
                "processServer": "ps-1",
                "agentVersion": "9.57.6920.1",
                "lastRebootAgentVersion": "9.55.1.1",
                "rebootAfter": ["9.61.7016.1"],
            },
            {
                "name": "web-2",
                "processServer": "ps-1",
                "agentVersion": "9.57.6920.1",
                "lastRebootAgentVersion": "9.57.6920.1",
                "rebootAfter": ["9.62.7096.1"],
            },
        ],
        "nextCursor": None,
    }
    assert (found["vault"], found["target"], found["upToDate"]) == ("contoso", "9.62.7096.1", False)
    assert found["upgradeOrder"] == ["configuration-server", "process-server", "mobility-agent"]


async def test_a_site_on_the_newest_release_has_nothing_to_do(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    process_server = await site.process_server(server)
    await add_machine(site, process_server, "web-1", "9.62.7096.1", "9.58.1.1")
    found = await plan(site)
    assert (found["upToDate"], found["upgradeOrder"]) == (True, [])
    assert found["configurationServer"]["upgradePath"] == found["processServers"][0]["upgradePath"] == []
    assert found["reboots"]["machineCount"] == 0


async def test_a_reboot_that_is_due_since_an_earlier_upgrade_is_named(site: Site) -> None:
    process_server = await old_site(site)
    await add_machine(site, process_server, "web-1", "9.62.7096.1", "9.57.6920.1")
    await add_machine(site, process_server, "web-2", "9.61.7016.1")
    found = (await plan(site))["reboots"]
    assert (found["machineCount"], found["unknownCount"]) == (1, 1)
    assert [(item["name"], item["rebootAfter"]) for item in found["items"]] == [("web-1", ["9.62.7096.1"])]


async def test_a_machine_whose_last_reboot_is_unknown_is_listed_where_it_makes_no_difference(site: Site) -> None:
    process_server = await old_site(site)
    await add_machine(site, process_server, "web-1", "9.57.6920.1")
    (item,) = (await plan(site))["reboots"]["items"]
    assert (item["lastRebootAgentVersion"], item["rebootAfter"]) == (None, ["9.62.7096.1"])


async def test_only_what_has_something_to_install_is_in_the_order(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.process_server(server, agentVersion="9.61.7016.1")
    assert (await plan(site))["upgradeOrder"] == ["process-server"]


async def test_another_target_can_be_chosen(site: Site) -> None:
    await old_site(site)
    found = await plan(site, target="9.60.6956.01")
    assert (found["target"], found["configurationServer"]["upgradePath"]) == ("9.60.6956.1", ["9.60.6956.1"])
    await site.client.delete("/api/v1/releases/9.60.6956.1")
    await site.client.delete("/api/v1/releases/9.61.7016.1")
    assert (await plan(site))["configurationServer"]["upgradePath"] == ["9.59.6930.1", "9.62.7096.1"]
    for target, says in (("9.60.6956.1", "withdrawn"), ("9.60.1.1", "not in the catalogue"), ("new", "not a version")):
        answer = await site.client.get(PLAN, params={"target": target})
        assert pointers(answer) == ["#/query/target"]
        assert says in answer.json()["errors"][0]["detail"]


async def test_a_configuration_server_without_a_way_holds_back_the_rest_and_says_so(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server(agentVersion="9.50.1.1")
    process_server = await site.process_server(server, agentVersion="9.50.1.1")
    await add_machine(site, process_server, "web-1", "9.50.1.1", "9.50.1.1")
    found = await plan(site)
    assert found["configurationServer"]["upgradePath"] is None
    assert "9.57.6920.1" in found["configurationServer"]["reason"]
    for step in (found["processServers"][0], found["mobilityAgents"][0]):
        assert step["upgradePath"] is None
        assert "cs-1 has to be upgraded first" in step["reason"]
    assert (found["upToDate"], found["upgradeOrder"], found["reboots"]["items"]) == (False, [], [])


async def test_a_process_server_above_all_releases_is_named(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    process_server = await site.process_server(server)
    await site.beat(process_server, agentVersion="9.63.1.1")
    found = await plan(site)
    (step,) = found["processServers"]
    assert step["upgradePath"] is None
    assert "9.63.1.1 is above 9.62.7096.1" in step["reason"]
    assert (found["upToDate"], found["upgradeOrder"]) == (False, [])


async def test_an_empty_catalogue_asks_for_nothing(site: Site) -> None:
    await old_site(site)
    async with site.app.state.database.write() as session:
        await session.execute(delete(Release))
    found = await plan(site)
    assert (found["target"], found["upToDate"], found["upgradeOrder"]) == (None, True, [])


async def test_machines_to_reboot_come_in_pages_by_name(site: Site) -> None:
    process_server = await old_site(site)
    for number in range(7):
        await add_machine(site, process_server, f"web-{number}", "9.57.6920.1", "9.57.6920.1")
        await add_machine(site, process_server, f"db-{number}", "9.60.6956.1", "9.60.6956.1")
    names: list[str] = []
    cursor = None
    while True:
        query: dict[str, Any] = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        reboots = (await plan(site, **query))["reboots"]
        assert reboots["machineCount"] == 7
        assert len(reboots["items"]) <= 3
        names += [item["name"] for item in reboots["items"]]
        cursor = reboots["nextCursor"]
        if cursor is None:
            break
    assert names == [f"web-{number}" for number in range(7)]
    problem(await site.client.get(PLAN, params={"cursor": "x"}), 400, "cursor-unreadable")


async def test_other_sites_are_no_part_of_a_plan(site: Site) -> None:
    mine = await old_site(site)
    await add_machine(site, mine, "mine", "9.57.6920.1")
    other = await site.configuration_server(name="cs-2", agentVersion="9.57.6920.1")
    await add_machine(site, await site.process_server(other, "ps-2", agentVersion="9.57.6920.1"), "x", "9.57.6920.1")
    found = await plan(site)
    assert [step["name"] for step in found["processServers"]] == ["ps-1"]
    assert [agents["machineCount"] for agents in found["mobilityAgents"]] == [1]
    assert [machine["name"] for machine in found["reboots"]["items"]] == ["mine"]


@pytest.mark.parametrize("ref", ["cs-9", "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f"])
async def test_what_is_not_there_has_no_plan(site: Site, ref: str) -> None:
    await site.vault()
    await site.vault("other")
    base = "/api/v1/vaults/contoso/configuration-servers"
    problem(await site.client.get(f"{base}/{ref}/upgrade-plan"), 404, "configuration-server-not-found")
    reader = await site.caller("reader", "other")
    problem(await reader.get(f"{base}/{ref}/upgrade-plan"), 404, "vault-not-found")
