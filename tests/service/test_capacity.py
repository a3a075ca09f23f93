"""Capacity of a configuration server."""

from typing import Any

import pytest

from tests.support.muster import Site, pointers, problem

GB, TB = 2**30, 2**40
PATH = "/api/v1/vaults/contoso/configuration-servers/cs-1/capacity"
LARGE = {"cpuCount": 12, "totalMemoryInBytes": 24 * GB}


async def _read(site: Site, **query: Any) -> dict[str, Any]:
    answer = await site.client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def _servers(site: Site) -> dict[str, dict[str, Any]]:
    """A configuration server of 16 vCPUs, and a large and a small process server that are alive."""
    await site.vault()
    hardware = {"cpuCount": 16, "totalMemoryInBytes": 32 * GB}
    found = {"cs-1": await site.configuration_server(hardware=hardware)}
    found["ps-1"] = await site.process_server(found["cs-1"], hardware=LARGE)
    small = {"cpuCount": 4, "totalMemoryInBytes": 8 * GB}
    found["ps-2"] = await site.process_server(found["cs-1"], "ps-2", hardware=small)
    for server in found.values():
        assert (await site.beat(server)).status_code == 200
    return found


def _load(machines: int, churn: int) -> dict[str, int]:
    return {"sourceMachines": machines, "churnInBytesPerDay": churn}


async def test_registered_machines_against_the_limits(site: Site) -> None:
    servers = await _servers(site)
    for index in range(3):
        await site.source_machine(servers["ps-1"]["id"], f"vm-{index}", 100 * GB)
    await site.source_machine(servers["ps-2"]["id"], "vm-9", 2 * TB + 1)
    found = await _read(site)
    assert (found["vault"], found["configurationServer"], found["source"]) == ("contoso", "cs-1", "registered")
    assert found["used"] == _load(4, 300 * GB + 2 * TB + 1)
    assert found["limit"] == _load(225 + 85 + 200, 4 * TB + 250 * GB)
    assert found["additionalProcessServersNeeded"] is True
    assert (found["processServersMissing"], found["missingProcessServers"]) == (False, [])
    assert [entry["name"] for entry in found["notProtectable"]] == ["vm-9"]
    assert "2 TB" in found["notProtectable"][0]["reason"]
    shown = {entry["name"]: entry for entry in found["processServers"]}
    assert list(shown) == ["cs-1", "ps-1", "ps-2"]
    assert [(entry["kind"], entry["tier"]) for entry in shown.values()] == [
        ("inbuilt", "large"), ("scaleOut", "large"), ("scaleOut", "small"),
    ]  # fmt: skip
    assert shown["ps-1"]["used"] == _load(3, 300 * GB)
    assert shown["ps-1"]["spare"] == _load(222, 2 * TB - 300 * GB)
    assert shown["ps-2"]["spare"] == _load(84, 0)
    assert shown["cs-1"]["spare"] == _load(200, 2 * TB)
    assert any("ps-2" in reason and "move machines" in reason for reason in found["reasons"])


async def test_stated_totals_stand_in(site: Site) -> None:
    servers = await _servers(site)
    await site.source_machine(servers["ps-1"]["id"], "vm-1", 100 * GB)
    found = await _read(site, sourceMachines=511, churnInBytesPerDay=TB)
    assert (found["source"], found["used"]) == ("stated", _load(511, TB))
    assert found["processServersMissing"] is True
    assert [(part["tier"], part["count"]) for part in found["missingProcessServers"]] == [("small", 1)]
    assert found["missingConfigurationServers"] == 0
    assert (await _read(site, sourceMachines=551))["missingConfigurationServers"] == 1
    assert (await _read(site, sourceMachines=510))["processServersMissing"] is False
    only_churn = await _read(site, churnInBytesPerDay=5 * TB)
    assert only_churn["used"] == _load(1, 5 * TB)
    assert [part["tier"] for part in only_churn["missingProcessServers"]] == ["medium"]


async def test_the_limits_of_200_machines_and_2_tb(site: Site) -> None:
    await site.vault()
    await site.configuration_server(hardware={"cpuCount": 16, "totalMemoryInBytes": 32 * GB})
    for machines, churn, is_missing in ((200, 2 * TB, False), (201, 2 * TB, True), (200, 2 * TB + 1, True)):
        found = await _read(site, sourceMachines=machines, churnInBytesPerDay=churn)
        assert found["additionalProcessServersNeeded"] is is_missing
        assert found["processServersMissing"] is is_missing


@pytest.mark.no_brake
async def test_who_takes_no_machines_has_nothing_to_spare(site: Site) -> None:
    await _servers(site)
    answer = await site.client.patch(
        "/api/v1/vaults/contoso/process-servers/ps-1", json={"maintenance": {"isEnabled": True}}
    )
    assert answer.status_code == 200, answer.text
    found = await _read(site)
    shown = {entry["name"]: entry for entry in found["processServers"]}
    assert (shown["ps-1"]["takesMachines"], shown["ps-1"]["spare"]) == (False, _load(0, 0))
    assert found["spare"] == _load(285, 2 * TB + 250 * GB)
    await site.pass_time(905)
    found = await _read(site)
    assert {entry["connectionState"] for entry in found["processServers"]} == {"Disconnected"}
    assert found["spare"] == _load(0, 0)
    assert found["limit"] == _load(510, 4 * TB + 250 * GB)


async def test_who_leaves_or_is_too_new_has_nothing_to_spare(site: Site) -> None:
    servers = await _servers(site)
    assert (await site.beat(servers["ps-1"], 2, agentVersion="9.63.1.1")).status_code == 200
    answer = await site.client.post("/api/v1/vaults/contoso/process-servers/ps-2/decommission")
    assert answer.status_code == 202, answer.text
    found = await _read(site)
    shown = {entry["name"]: entry for entry in found["processServers"]}
    for name in ("ps-1", "ps-2"):
        assert (shown[name]["takesMachines"], shown[name]["spare"]) == (False, _load(0, 0))
        assert shown[name]["connectionState"] == "Connected"
    assert found["spare"] == _load(200, 2 * TB)
    assert found["limit"] == _load(510, 4 * TB + 250 * GB)


async def test_hardware_that_is_unknown_is_said_to_be(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server(hardware=None)
    await site.process_server(server, hardware={})
    found = await _read(site)
    assert [(entry["tier"], entry["limit"]["sourceMachines"]) for entry in found["processServers"]] == [
        (None, 200), (None, 225),
    ]  # fmt: skip
    assert all("unknown" in entry["note"] for entry in found["processServers"])


async def test_other_servers_machines_don_t_count(site: Site) -> None:
    await _servers(site)
    other = await site.configuration_server(name="cs-2")
    elsewhere = await site.process_server(other, "ps-9")
    await site.source_machine(elsewhere["id"], "vm-1", GB)
    found = await _read(site)
    assert found["used"] == _load(0, 0)
    assert "ps-9" not in {entry["name"] for entry in found["processServers"]}


async def test_what_is_not_there_and_what_can_t_be_read(site: Site) -> None:
    await _servers(site)
    base = "/api/v1/vaults"
    problem(await site.client.get(f"{base}/nowhere/configuration-servers/cs-1/capacity"), 404, "vault-not-found")
    missing = await site.client.get(f"{base}/contoso/configuration-servers/cs-9/capacity")
    problem(missing, 404, "configuration-server-not-found")
    reader = await site.caller("reader", "contoso")
    assert (await reader.get(PATH)).status_code == 200
    assert pointers(await site.client.get(f"{PATH}?sourceMachines=-1")) == ["#/query/sourceMachines"]
    assert pointers(await site.client.get(f"{PATH}?churnInBytesPerDay=1TB")) == ["#/query/churnInBytesPerDay"]
