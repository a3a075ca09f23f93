"""What process servers take: within the published limits of their hardware, and only those that are fit."""

import pytest

from tests.support.machines import (
    GB,
    LARGE,
    MACHINE,
    MACHINES,
    SERVER,
    SMALL,
    TB,
    Servers,
    accepted,
    connected_servers,
    last_event,
    put,
    seed,
)
from tests.support.muster import Site, problem


@pytest.fixture
async def servers(site: Site) -> Servers:
    """A small and a large process server that are connected."""
    return await connected_servers(site, ps_1=SMALL, ps_2=LARGE)


async def test_the_last_machine_within_the_limit_gets_in(site: Site, servers: Servers) -> None:
    await seed(site, servers["ps-1"], 84, GB)
    accepted(await put(site), 201)
    refused = problem(await put(site, "sql-2"), 409, "over-capacity")
    assert "85 source machine(s) are there, 1 more make 86, the limit is 85" in refused["detail"]
    assert "allowOverCapacity" in refused["detail"]
    assert refused["processServer"] == "ps-1"
    assert refused["present"] == {"sourceMachines": 85, "churnInBytesPerDay": 94 * GB}
    assert refused["added"] == {"sourceMachines": 1, "churnInBytesPerDay": 10 * GB}
    assert refused["limit"] == {"sourceMachines": 85, "churnInBytesPerDay": 250 * GB}
    # It is full, not closed: what it carries can change and go, and others may still come elsewhere.
    accepted(await put(site, osType="Linux"), 200)
    accepted(await put(site, "sql-2", processServer="ps-2"), 201)
    problem(await put(site, "sql-2"), 409, "over-capacity")
    assert (await site.client.delete(f"{MACHINES}/sql-1")).status_code == 204
    accepted(await put(site, "sql-2"), 200)


async def test_one_byte_of_churn_too_many_is_refused(site: Site, servers: Servers) -> None:
    await seed(site, servers["ps-1"], 1, 200 * GB)
    problem(await put(site, churnInBytesPerDay=50 * GB + 1), 409, "over-capacity")
    accepted(await put(site, churnInBytesPerDay=50 * GB), 201)
    refused = problem(await put(site, churnInBytesPerDay=50 * GB + 1), 409, "over-capacity")
    assert refused["present"]["churnInBytesPerDay"] == 250 * GB
    assert refused["added"] == {"sourceMachines": 0, "churnInBytesPerDay": 1}
    accepted(await put(site, churnInBytesPerDay=49 * GB), 200)
    accepted(await put(site, churnInBytesPerDay=50 * GB), 200)


@pytest.mark.parametrize(
    ("query", "member", "status"),
    [("", True, 201), ("?allowOverCapacity=true", None, 201), ("?allowOverCapacity=true", False, 409), ("", None, 409)],
)
async def test_capacity_can_be_exceeded_on_purpose(
    site: Site, servers: Servers, query: str, member: bool | None, status: int
) -> None:
    await seed(site, servers["ps-1"], 85)
    body = MACHINE if member is None else {**MACHINE, "allowOverCapacity": member}
    answer = await site.client.put(f"{MACHINES}/sql-1{query}", json=body)
    assert answer.status_code == status, answer.text
    if status == 409:
        problem(answer, 409, "over-capacity")
        return
    event = await last_event(site)
    assert event["type"] == "source-machine.registered"
    assert event["severity"] == "Warning"
    assert event["data"]["overCapacity"] is True
    assert event["data"]["present"] == {"sourceMachines": 85, "churnInBytesPerDay": 0}
    assert event["data"]["limit"] == {"sourceMachines": 85, "churnInBytesPerDay": 250 * GB}


async def test_an_override_that_was_not_needed_is_not_recorded_as_one(site: Site, servers: Servers) -> None:
    accepted(await put(site, allowOverCapacity=True), 201)
    assert (await last_event(site))["data"]["overCapacity"] is False


async def test_moves_and_growth_are_recorded_when_they_exceed(site: Site, servers: Servers) -> None:
    await seed(site, servers["ps-1"], 85)
    accepted(await put(site, processServer="ps-2"), 201)
    problem(await put(site), 409, "over-capacity")
    accepted(await put(site, allowOverCapacity=True), 200)
    event = await last_event(site)
    assert (event["type"], event["data"]["overCapacity"]) == ("source-machine.moved", True)
    accepted(await put(site, churnInBytesPerDay=251 * GB, allowOverCapacity=True), 200)
    event = await last_event(site)
    assert (event["type"], event["data"]["overCapacity"]) == ("source-machine.updated", True)


async def test_a_machine_above_two_terabytes_is_never_protected(site: Site, servers: Servers) -> None:
    for allow in (False, True):
        answer = await put(site, processServer="ps-2", churnInBytesPerDay=2 * TB + 1, allowOverCapacity=allow)
        refused = problem(answer, 409, "over-capacity")
        assert "can't be protected" in refused["detail"]
        assert refused["limit"] == {"churnInBytesPerDay": 2 * TB}
    accepted(await put(site, processServer="ps-2", churnInBytesPerDay=2 * TB), 201)


@pytest.mark.no_brake
async def test_a_disconnected_process_server_takes_no_new_machines(site: Site, servers: Servers) -> None:
    accepted(await put(site), 201)
    await site.pass_time(1_000)
    refused = problem(await put(site, "sql-2"), 409, "target-not-fit")
    assert [blocker["code"] for blocker in refused["blockers"]] == ["disconnected"]
    # What is there can be described anew, grow, go.
    accepted(await put(site, osType="Linux", churnInBytesPerDay=20 * GB), 200)
    problem(await put(site, processServer="ps-2"), 409, "target-not-fit")
    await site.beat(servers["ps-2"], 2)
    accepted(await put(site, processServer="ps-2"), 200)
    problem(await put(site, "sql-2", allowOverCapacity=True), 409, "target-not-fit")


async def test_a_process_server_in_maintenance_takes_none_until_it_ends(site: Site, servers: Servers) -> None:
    until = "2026-01-01T00:05:00Z"
    path = f"{SERVER}/process-servers/ps-1"
    await site.client.patch(path, json={"maintenance": {"until": until}})
    refused = problem(await put(site), 409, "target-not-fit")
    assert [blocker["code"] for blocker in refused["blockers"]] == ["in-maintenance"]
    assert "ps-1" in refused["detail"]
    site.manual_clock.advance(300)
    accepted(await put(site), 201)


async def test_a_process_server_above_its_configuration_server_takes_none(site: Site, servers: Servers) -> None:
    await site.beat(servers["ps-1"], 2, agentVersion="9.63.0.0")
    await site.client.patch(f"{SERVER}/process-servers/ps-1", json={"maintenance": {}})
    refused = problem(await put(site), 409, "target-not-fit")
    codes = [blocker["code"] for blocker in refused["blockers"]]
    assert codes == ["in-maintenance", "version-above-configuration-server"]
    assert "9.63.0.0" in refused["detail"]
    assert "9.62.7096.1" in refused["detail"]
