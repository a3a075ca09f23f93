"""Placement, rebalance plans and their application."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.models import Host
from app.vocabulary import Health
from tests.support.machines import GB, LARGE, SERVER, SMALL, TB, Servers, accepted, connected_servers, put, seed
from tests.support.muster import Site, pointers, problem
from tests.support.rows import host_row_id

PLACEMENT = f"{SERVER}/placement"
PLAN = f"{SERVER}/rebalance-plan"
APPLY = f"{PLAN}/apply"
SERVERS = f"{SERVER}/process-servers"


async def plan(site: Site, **query: Any) -> dict[str, Any]:
    answer = await site.client.get(PLAN, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def apply(site: Site, token: str, *, headers: dict[str, str] | None = None, **members: Any) -> httpx.Response:
    return await site.client.post(APPLY, json={"token": token, **members}, headers=headers)


async def placement(site: Site, **query: Any) -> dict[str, Any]:
    answer = await site.client.get(PLACEMENT, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def carried(site: Site) -> dict[str, str]:
    """Each machine's process server."""
    return {one["name"]: one["processServer"] for one in await site.walk(f"{SERVER}/source-machines", limit=500)}


def change_of(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in found["processServers"] if entry["name"] == name)


def codes(entry: dict[str, Any]) -> list[str]:
    return [blocker["code"] for blocker in entry["blockers"]]


async def drain(site: Site, name: str, *, is_enabled: bool = True) -> None:
    answer = await site.client.patch(f"{SERVERS}/{name}", json={"maintenance": {"isEnabled": is_enabled}})
    assert answer.status_code == 200, answer.text


async def over_limit(site: Site) -> Servers:
    """A small server with 90 machines of 4 GB, and an empty large one; the inbuilt one is drained."""
    servers = await connected_servers(site, ps_1=SMALL, ps_2=LARGE)
    await drain(site, "cs-1")
    await seed(site, servers["ps-1"], 90, 4 * GB)
    return servers


async def test_placement_puts_the_most_spare_first_and_says_why(site: Site) -> None:
    servers = await connected_servers(site, ps_1=SMALL, ps_2=LARGE)
    await drain(site, "cs-1")
    await seed(site, servers["ps-2"], 20, GB)
    found = await placement(site, churnInBytesPerDay=100 * GB)
    assert [entry["name"] for entry in found["processServers"]] == ["ps-2", "ps-1"]
    assert found["recommended"] == "ps-2"
    best = found["processServers"][0]
    assert best["spareAfter"] == {"sourceMachines": 204, "churnInBytesPerDay": 2 * TB - 120 * GB}
    assert best["sparePercentageAfter"] == 90.66
    assert any("9.62.7096.1" in reason for reason in best["reasons"])
    (unfit,) = found["unfitProcessServers"]
    assert (unfit["name"], codes(unfit)) == ("cs-1", ["in-maintenance"])
    small = await placement(site, churnInBytesPerDay=251 * GB)
    assert codes(small["unfitProcessServers"][1]) == ["over-capacity"]
    assert "251 GB" in small["unfitProcessServers"][1]["blockers"][0]["detail"]


async def test_placement_of_a_machine_that_no_server_carries(site: Site) -> None:
    await connected_servers(site, ps_1=LARGE)
    found = await placement(site, churnInBytesPerDay=2 * TB + 1)
    assert (found["recommended"], found["processServers"]) == (None, [])
    assert all("not-protectable" in codes(entry) for entry in found["unfitProcessServers"])
    assert "2 TB" in found["reasons"][0]


@pytest.mark.no_brake
async def test_placement_tells_every_reason_against_a_server(site: Site) -> None:
    servers = await connected_servers(site, ps_1=SMALL)
    await site.process_server(servers["cs-1"], "ps-2", kind="failback", hardware=LARGE)
    await seed(site, servers["ps-1"], 85)
    await drain(site, "ps-1")
    await site.pass_time(905)
    found = {entry["name"]: entry for entry in (await placement(site))["unfitProcessServers"]}
    assert codes(found["ps-1"]) == ["disconnected", "in-maintenance", "over-capacity"]
    assert codes(found["ps-2"]) == ["disconnected", "failback-only"]
    problem(await site.client.get(f"{PLACEMENT}?churnInBytesPerDay=-1"), 422, "validation-failed")
    missing = await site.client.get(PLACEMENT.replace("cs-1", "cs-9"))
    problem(missing, 404, "configuration-server-not-found")


async def test_a_plan_relieves_and_evens_and_changes_nothing(site: Site) -> None:
    await over_limit(site)
    before = await carried(site)
    found = await plan(site)
    assert await carried(site) == before
    assert (found["goal"], found["unplaced"], found["processServersNeeded"]) == ("balance", [], [])
    one, other = change_of(found, "ps-1"), change_of(found, "ps-2")
    assert one["before"] == {"sourceMachines": 90, "churnInBytesPerDay": 360 * GB}
    assert one["utilisationPercentageBefore"] == 144.0
    moved = one["before"]["sourceMachines"] - one["after"]["sourceMachines"]
    assert len(found["moves"]) == moved == other["after"]["sourceMachines"]
    assert max(one["utilisationPercentageAfter"], other["utilisationPercentageAfter"]) <= (
        found["lowerBound"]["highestUtilisationPercentage"] + 2
    )
    assert found["lowerBound"]["moves"] <= moved
    assert all(move["from"] == "ps-1" and move["to"] == "ps-2" and move["reason"] for move in found["moves"])
    assert "85 machines" in found["moves"][0]["reason"]
    assert codes(change_of(found, "cs-1")) == ["in-maintenance"]
    few = await plan(site, maxMoves=5)
    assert [move["machine"] for move in few["moves"]] == [move["machine"] for move in found["moves"][:5]]
    assert few["token"] != found["token"]
    assert any("more move" in reason for reason in few["reasons"])


async def test_a_plan_names_what_fits_nowhere_and_what_would_carry_it(site: Site) -> None:
    servers = await connected_servers(site, ps_1=SMALL, ps_2=SMALL)
    await drain(site, "cs-1")
    await site.source_machine(servers["ps-1"]["id"], "big-1", 600 * GB)
    await site.source_machine(servers["ps-1"]["id"], "web-1", 10 * GB)
    await site.source_machine(servers["ps-2"]["id"], "huge-1", 2 * TB + 1)
    found = await plan(site)
    assert {entry["machine"]: entry["processServer"] for entry in found["unplaced"]} == {
        "big-1": "ps-1", "huge-1": "ps-2",
    }  # fmt: skip
    assert found["unplacedCount"] == 2
    reasons = {entry["machine"]: entry["reason"] for entry in found["unplaced"]}
    assert "600 GB" in reasons["big-1"]
    assert "no process server carries more than 2 TB" in reasons["huge-1"]
    assert [(part["tier"], part["count"]) for part in found["processServersNeeded"]] == [("medium", 1)]
    assert found["lowerBound"]["highestUtilisationPercentage"] is None


async def test_an_applied_plan_moves_all_at_once_and_waits_for_the_agents(site: Site) -> None:
    servers = await over_limit(site)
    found = await plan(site)
    headers = {"Idempotency-Key": "once"}
    answer = await apply(site, found["token"], headers=headers)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["Location"] == f"/api/v1/vaults/contoso/jobs/{job['id']}"
    assert (job["type"], job["state"], job["target"]) == ("rebalance", "InProgress", "ps-2")
    assert (job["resource"]["name"], job["details"]["machines"]) == ("cs-1", len(found["moves"]))
    again = await apply(site, found["token"], headers=headers)
    assert (again.status_code, again.json()) == (202, job)
    where = await carried(site)
    assert all(where[move["machine"]] == move["to"] for move in found["moves"])
    assert len(where) == 90
    for name in ("ps-1", "ps-2"):
        assert (await site.read_process_server(name))["sourceMachineCount"] == (
            change_of(found, name)["after"]["sourceMachines"]
        )
    events = await site.events()
    moved = [event for event in events if event["type"] == "source-machine.moved"]
    assert {event["resource"]["name"]: event["data"]["reason"] for event in moved} == {
        move["machine"]: move["reason"] for move in found["moves"]
    }
    assert [event["type"] for event in events].count("configuration-server.rebalanced") == 1
    beat = await site.beat(servers["ps-2"], 2)
    await site.beat(servers["ps-2"], 3, observedGeneration=beat.json()["generation"])
    done = (await site.client.get(answer.headers["Location"])).json()
    assert (done["state"], done["progressPercentage"]) == ("Succeeded", 100)
    rest = await plan(site)
    assert rest["moves"] == []
    problem(await apply(site, rest["token"]), 409, "no-machines-to-move")


Change = Callable[[Site, Servers], Awaitable[None]]


async def _put_machine(site: Site, servers: Servers) -> None:
    accepted(await put(site, "new-1", processServer="ps-2"), 201)


async def _change_churn(site: Site, servers: Servers) -> None:
    accepted(await put(site, "ps-1-seed-0", processServer="ps-1", churnInBytesPerDay=3 * GB), 200)


async def _delete_machine(site: Site, servers: Servers) -> None:
    answer = await site.client.delete(f"{SERVER}/source-machines/ps-1-seed-1")
    assert answer.status_code == 204, answer.text


async def _drain(site: Site, servers: Servers) -> None:
    await drain(site, "ps-2")


async def _undrain(site: Site, servers: Servers) -> None:
    await drain(site, "cs-1", is_enabled=False)


async def _too_new(site: Site, servers: Servers) -> None:
    assert (await site.beat(servers["ps-2"], 2, agentVersion="9.63.1.1")).status_code == 200


async def _critical(site: Site, servers: Servers) -> None:
    async with site.app.state.database.write() as session:
        host = await session.get_one(Host, host_row_id(servers["ps-2"]))
        host.health = Health.CRITICAL.value


async def _disconnected(site: Site, servers: Servers) -> None:
    await site.pass_time(905)
    for name in ("cs-1", "ps-1"):
        assert (await site.beat(servers[name], 2)).status_code == 200


async def _leave(site: Site, servers: Servers) -> None:
    answer = await site.client.post(f"{SERVERS}/ps-2/decommission")
    assert answer.status_code == 202, answer.text


@pytest.mark.no_brake
@pytest.mark.parametrize(
    "changes",
    [
        [_put_machine, _change_churn, _delete_machine, _undrain, _drain],
        [_too_new, _leave],
        [_critical, _disconnected],
    ],
)
async def test_a_plan_is_stale_once_something_that_decides_has_changed(
    site: Site, changes: list[Change], subtests: pytest.Subtests
) -> None:
    servers = await over_limit(site)
    for change in changes:
        found = await plan(site)
        await change(site, servers)
        before = await carried(site)
        with subtests.test(change=change.__name__):
            refused = problem(await apply(site, found["token"]), 409, "stale-plan")
            assert "read the plan again" in refused["detail"]
            assert await carried(site) == before
    assert "configuration-server.rebalanced" not in await site.event_types()


async def test_a_plan_outlives_what_does_not_decide(site: Site) -> None:
    servers = await over_limit(site)
    found = await plan(site)
    assert (await site.beat(servers["ps-2"], 2)).status_code == 200
    await site.client.patch(f"{SERVERS}/ps-2", json={"friendlyName": "The large one"})
    assert (await plan(site))["token"] == found["token"]
    assert (await apply(site, found["token"])).status_code == 202


async def test_a_token_is_of_one_question(site: Site) -> None:
    await over_limit(site)
    found = await plan(site, goal="empty", processServer="ps-1")
    problem(await apply(site, found["token"]), 409, "stale-plan")
    problem(await apply(site, "nonsense"), 409, "stale-plan")
    answer = await apply(site, found["token"], goal="empty", processServer="ps-1")
    assert answer.status_code == 202, answer.text
    assert set((await carried(site)).values()) == {"ps-2"}
    assert answer.json()["details"]["processServer"] == "ps-1"


@pytest.mark.no_brake
async def test_a_dead_server_is_left_alone_unless_it_is_to_be_emptied(site: Site) -> None:
    servers = await connected_servers(site, ps_1=LARGE, ps_2=LARGE)
    await seed(site, servers["ps-1"], 30, GB)
    await site.pass_time(905)
    for name in ("cs-1", "ps-2"):
        assert (await site.beat(servers[name], 2)).status_code == 200
    found = await plan(site)
    assert found["moves"] == []
    assert any("ps-1" in reason and "goal empty" in reason for reason in found["reasons"])
    empty = await plan(site, goal="empty", processServer=servers["ps-1"]["id"])
    assert (len(empty["moves"]), empty["processServer"], empty["unplaced"]) == (30, "ps-1", [])
    assert {move["to"] for move in empty["moves"]} == {"cs-1", "ps-2"}
    answer = await apply(site, empty["token"], goal="empty", processServer=servers["ps-1"]["id"])
    assert answer.status_code == 202, answer.text
    assert "ps-1" not in set((await carried(site)).values())


async def test_a_new_server_comes_up_to_the_average(site: Site) -> None:
    servers = await connected_servers(site, ps_1=LARGE, ps_2=LARGE, ps_3=LARGE)
    await drain(site, "cs-1")
    await seed(site, servers["ps-1"], 90, GB)
    await seed(site, servers["ps-2"], 60, GB)
    found = await plan(site, goal="useNew", processServer="ps-3")
    assert {(move["from"], move["to"]) for move in found["moves"]} <= {("ps-1", "ps-3"), ("ps-2", "ps-3")}
    after = [change_of(found, name)["after"]["sourceMachines"] for name in ("ps-1", "ps-2", "ps-3")]
    assert after == [50, 50, 50]
    await drain(site, "ps-3")
    refused = await site.client.get(PLAN, params={"goal": "useNew", "processServer": "ps-3"})
    assert [entry["code"] for entry in problem(refused, 409, "target-not-fit")["blockers"]] == ["in-maintenance"]


async def test_goal_and_process_server_go_together(site: Site) -> None:
    await connected_servers(site, ps_1=SMALL)
    for goal in ("empty", "useNew"):
        assert pointers(await site.client.get(PLAN, params={"goal": goal})) == ["#/query/processServer"]
    answer = await site.client.get(PLAN, params={"processServer": "ps-1"})
    assert pointers(answer) == ["#/query/processServer"]
    assert pointers(await apply(site, "any", goal="empty")) == ["#/processServer"]
    unknown = await site.client.get(PLAN, params={"goal": "empty", "processServer": "ps-9"})
    problem(unknown, 404, "process-server-not-found")
    assert pointers(await site.client.get(PLAN, params={"maxMoves": 0})) == ["#/query/maxMoves"]
    problem(await site.client.get(PLAN.replace("cs-1", "cs-9")), 404, "configuration-server-not-found")


async def test_roles_and_scope(site: Site) -> None:
    await over_limit(site)
    found = await plan(site)
    reader = await site.caller("reader", "contoso")
    assert (await reader.get(PLAN)).json()["token"] == found["token"]
    assert (await reader.get(PLACEMENT)).status_code == 200
    problem(await reader.post(APPLY, json={"token": found["token"]}), 403, "forbidden")
    await site.vault("fabrikam")
    stranger = await site.caller("operator", "fabrikam")
    problem(await stranger.get(PLAN), 404, "vault-not-found")
    problem(await stranger.post(APPLY, json={"token": found["token"]}), 404, "vault-not-found")


async def test_of_concurrent_applications_one_wins(site: Site) -> None:
    await over_limit(site)
    found = await plan(site)
    answers = await asyncio.gather(*(apply(site, found["token"]) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"stale-plan"}
    where = await carried(site)
    assert (len(where), sum(1 for name in where.values() if name == "ps-2")) == (90, len(found["moves"]))


async def test_a_repetition_with_its_key_is_answered_whatever_has_become_of_the_plan(site: Site) -> None:
    await over_limit(site)
    made = await plan(site, goal="useNew", processServer="ps-2")
    headers = {"Idempotency-Key": "apply-1"}
    asked: dict[str, Any] = {"goal": "useNew", "processServer": "ps-2"}
    first = await apply(site, made["token"], headers=headers, **asked)
    assert first.status_code == 202, first.text
    await drain(site, "ps-2")
    again = await apply(site, made["token"], headers=headers, **asked)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    problem(await apply(site, made["token"], **asked), 409, "target-not-fit")
