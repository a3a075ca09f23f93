"""Load balance and switch: whole, at once, and told to both agents."""

import uuid

import pytest

from app.jobs import observations
from app.jobs.tasks import Orphans
from tests.support.machines import GB, LARGE, MACHINES, SMALL, TB, Servers, connected_servers, put, seed
from tests.support.moving import SERVERS, carriers, job_of, load_balance, observe, outlive, switch
from tests.support.muster import Site, problem, registration
from tests.support.remembered import remembered
from tests.support.rows import host_row


@pytest.fixture
async def servers(site: Site) -> Servers:
    """A small and a large process server that are connected, and four machines on the small one."""
    return await _servers_with_machines(site)


@remembered
async def _servers_with_machines(site: Site, /) -> Servers:
    found = await connected_servers(site, ps_1=SMALL, ps_2=LARGE)
    for number in range(1, 5):
        assert (await put(site, f"web-{number}")).status_code == 201
    return found


async def test_a_switch_moves_all_at_once_and_both_agents_learn_of_it(site: Site, servers: Servers) -> None:
    before = {name: await site.read_process_server(name) for name in ("ps-1", "ps-2")}
    answer = await switch(site, "ps-1", "ps-2", reason="ps-1 is to be replaced")
    job = await job_of(site, answer)
    assert (job["type"], job["state"], job["progressPercentage"]) == ("switch", "InProgress", 50)
    assert (job["resource"]["name"], job["target"], job["requestedBy"]) == ("ps-1", "ps-2", "token:admin")
    assert set((await carriers(site)).values()) == {"ps-2"}
    for name in ("ps-1", "ps-2"):
        assert (await site.read_process_server(name))["generation"] == before[name]["generation"] + 1, "once each"
    told = {name: (await site.beat(servers[name], 2)).json() for name in ("ps-1", "ps-2")}
    assert told["ps-1"]["desired"]["sourceMachines"] == []
    assert told["ps-2"]["desired"]["sourceMachines"] == ["web-1", "web-2", "web-3", "web-4"]


async def test_the_job_ends_when_the_target_has_observed_it(site: Site, servers: Servers) -> None:
    answer = await switch(site, "ps-1", "ps-2")
    generation = (await site.read_process_server("ps-2"))["generation"]
    await observe(site, servers["ps-1"], 2)
    await observe(site, servers["ps-2"], 2, generation - 1)
    assert (await job_of(site, answer))["state"] == "InProgress", "neither the source nor an older generation ends it"
    site.manual_clock.advance(7)
    await observe(site, servers["ps-2"], 3, generation)
    job = await job_of(site, answer)
    assert (job["state"], job["progressPercentage"]) == ("Succeeded", 100)
    assert job["startedAt"] < job["endedAt"] == job["details"]["observedAt"]
    assert (await site.read_process_server("ps-2"))["observedGeneration"] == generation


async def test_a_later_generation_observed_ends_the_earlier_jobs_too(site: Site, servers: Servers) -> None:
    first = await load_balance(site, "ps-1", "ps-2", "web-1")
    second = await load_balance(site, "ps-1", "ps-2", "web-2")
    await observe(site, servers["ps-2"], 2)
    assert [(await job_of(site, answer))["state"] for answer in (first, second)] == ["Succeeded"] * 2


async def test_an_agent_that_was_asleep_meanwhile_ends_the_job_when_it_is_back(site: Site, servers: Servers) -> None:
    answer = await switch(site, "ps-1", "ps-2")
    await site.pass_time(1_000)
    assert (await job_of(site, answer))["state"] == "InProgress"
    await observe(site, servers["ps-2"], 2)
    assert (await job_of(site, answer))["state"] == "Succeeded"


@pytest.mark.no_brake
async def test_a_dead_source_is_switched_and_can_be_purged_at_once(site: Site, servers: Servers) -> None:
    await outlive(site, servers["ps-2"], servers["cs-1"])
    assert (await site.read_process_server("ps-1"))["connectionState"] == "Disconnected"
    answer = await switch(site, "ps-1", "ps-2")
    purged = await site.client.post(f"{SERVERS}/ps-1/purge")
    assert purged.status_code == 200, purged.text
    await observe(site, servers["ps-2"], 200)
    assert (await job_of(site, answer))["state"] == "Succeeded"


async def test_chosen_machines_by_name_and_id_move_and_the_others_stay(site: Site, servers: Servers) -> None:
    machine = (await site.client.get(f"{MACHINES}/web-3")).json()
    job = await job_of(site, await load_balance(site, "ps-1", "ps-2", "WEB-1", machine["id"], "web-1"))
    assert (job["type"], job["details"]["machines"]) == ("load-balance", 2)
    assert await carriers(site) == {"web-1": "ps-2", "web-2": "ps-1", "web-3": "ps-2", "web-4": "ps-1"}
    types = await site.event_types()
    assert (types.count("source-machine.moved"), types.count("process-server.load-balanced")) == (2, 1)
    event = next(event for event in await site.events() if event["type"] == "process-server.load-balanced")
    assert event["data"]["machineNames"] == ["web-1", "web-3"]
    assert (event["data"]["job"], event["data"]["target"]) == (job["id"], "ps-2")


async def test_under_its_configuration_server_too(site: Site, servers: Servers) -> None:
    nested = "/api/v1/vaults/contoso/configuration-servers/cs-1/process-servers/ps-1"
    moved = await site.client.post(f"{nested}/load-balance", json={"target": "ps-2", "machines": ["web-1"]})
    switched = await site.client.post(f"{nested}/switch", json={"target": servers["ps-2"]["id"]})
    assert (moved.status_code, switched.status_code) == (202, 202)
    assert set((await carriers(site)).values()) == {"ps-2"}


async def test_a_machine_that_another_one_carries_stops_all_of_it(site: Site, servers: Servers) -> None:
    await load_balance(site, "ps-1", "ps-2", "web-2")
    refused = problem(await load_balance(site, "ps-1", "cs-1", "web-1", "web-2"), 409, "machines-elsewhere")
    assert refused["machines"] == {"web-2": "ps-2"}
    assert (await carriers(site))["web-1"] == "ps-1"


async def test_an_unknown_machine_stops_all_of_it(site: Site, servers: Servers) -> None:
    refused = problem(
        await load_balance(site, "ps-1", "ps-2", "web-1", "web-9", "web-8"), 404, "source-machine-not-found"
    )
    assert refused["machines"] == ["web-9", "web-8"]
    assert (await carriers(site))["web-1"] == "ps-1"


async def test_nothing_to_switch_is_said(site: Site, servers: Servers) -> None:
    await switch(site, "ps-1", "ps-2")
    refused = problem(await switch(site, "ps-1", "ps-2"), 409, "no-machines-to-move")
    assert "'ps-1' carries no source machine" in refused["detail"]


async def test_the_same_server_twice_is_refused(site: Site, servers: Servers) -> None:
    refused = problem(await switch(site, "ps-1", "ps-1"), 422, "validation-failed")
    assert refused["errors"][0]["pointer"] == "#/target"


async def test_a_target_of_another_configuration_server_is_not_found(site: Site, servers: Servers) -> None:
    other = await site.configuration_server(name="cs-2")
    await site.process_server(other, "ps-9")
    problem(await switch(site, "ps-1", "ps-9"), 404, "process-server-not-found")


async def test_every_reason_against_a_target_is_told_at_once(site: Site, servers: Servers) -> None:
    await site.client.patch(f"{SERVERS}/ps-2", json={"maintenance": {"isEnabled": True}})
    await seed(site, servers["ps-2"], 224)
    await site.beat(servers["ps-2"], 2, agentVersion="9.63.0.0")
    refused = problem(await switch(site, "ps-1", "ps-2"), 409, "target-not-fit")
    assert [blocker["code"] for blocker in refused["blockers"]] == [
        "in-maintenance",
        "version-above-configuration-server",
        "over-capacity",
    ]
    assert refused["blockers"][2]["limit"]["sourceMachines"] == 225
    assert set((await carriers(site)).values()) >= {"ps-1"}


async def test_over_capacity_needs_a_word_and_is_recorded(site: Site, servers: Servers) -> None:
    await seed(site, servers["ps-2"], 223)
    problem(await switch(site, "ps-1", "ps-2"), 409, "target-not-fit")
    job = await job_of(site, await switch(site, "ps-1", "ps-2", allowOverCapacity=True))
    assert job["details"]["overCapacity"] is True
    assert job["details"]["present"]["sourceMachines"] == 223
    events = {event["type"]: event for event in await site.events()}
    for kind in ("process-server.switched", "source-machine.moved"):
        assert (events[kind]["severity"], events[kind]["data"]["overCapacity"]) == ("Warning", True)


async def test_churn_counts_too(site: Site, servers: Servers) -> None:
    await site.source_machine(servers["ps-2"]["id"], "huge", 2 * TB - 10 * GB)
    assert (await load_balance(site, "ps-1", "ps-2", "web-1")).status_code == 202, "the limit is inclusive"
    refused = problem(await load_balance(site, "ps-1", "ps-2", "web-2"), 409, "target-not-fit")
    assert "churn" in refused["detail"]


async def test_a_repeated_request_with_its_key_is_one_switch(site: Site, servers: Servers) -> None:
    headers = {"Idempotency-Key": "switch-1"}
    answers = [
        await site.client.post(f"{SERVERS}/ps-1/switch", json={"target": "ps-2"}, headers=headers) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert answers[1].headers["Location"] == answers[0].headers["Location"]


async def test_readers_may_not(site: Site, servers: Servers) -> None:
    reader = await site.caller("reader")
    problem(await reader.post(f"{SERVERS}/ps-1/switch", json={"target": "ps-2"}), 403, "forbidden")


async def test_a_moved_job_can_not_be_cancelled(site: Site, servers: Servers) -> None:
    answer = await switch(site, "ps-1", "ps-2")
    refused = problem(await site.client.post(f"{answer.headers['Location']}/cancel"), 409, "job-not-cancellable")
    assert "can't be undone" in refused["detail"]


@pytest.mark.no_brake
async def test_a_target_that_is_removed_before_it_has_observed_fails_the_job(site: Site, servers: Servers) -> None:
    answer = await switch(site, "ps-1", "ps-2")
    await outlive(site, servers["ps-1"], servers["cs-1"])
    purged = await site.client.post(f"{SERVERS}/ps-2/purge", json={"switchTo": "ps-1"})
    assert purged.status_code == 200, purged.text
    assert await run_orphans(site) == 1
    job = await job_of(site, answer)
    assert (job["state"], job["error"]["code"]) == ("Failed", "server-removed")
    assert "ps-2" in job["error"]["detail"]
    event = (await site.events())[-1]
    assert (event["type"], event["data"]["error"]["code"]) == ("job.failed", "server-removed")
    assert await run_orphans(site) == 0


@pytest.mark.no_brake
async def test_a_rebuilt_target_is_waited_for_in_its_new_machine(site: Site, servers: Servers) -> None:
    answer = await switch(site, "ps-1", "ps-2")
    await outlive(site, servers["ps-1"], servers["cs-1"])
    approved = await site.client.post(f"{SERVERS}/ps-2/takeover")
    assert approved.status_code in {200, 201}, approved.text
    body = registration(servers["cs-1"], "ps-2", hostId="rebuilt-host", hardware=LARGE)
    rebuilt = (await site.agent_post("/agent/v1/process-servers/register", body)).json()
    assert (await job_of(site, answer))["state"] == "InProgress"
    await observe(site, rebuilt, 1)
    assert (await job_of(site, answer))["state"] == "Succeeded"


async def test_what_an_agent_observed_before_a_restore_ends_no_job(site: Site, servers: Servers) -> None:
    answer = await switch(site, "ps-1", "ps-2")
    told = (await site.read_process_server("ps-2"))["generation"]
    restored = (await site.beat(servers["ps-2"], 2, observedGeneration=told + 3)).json()
    assert restored["generation"] == told + 4
    assert restored["desired"]["sourceMachines"] == ["web-1", "web-2", "web-3", "web-4"]
    assert (await job_of(site, answer))["state"] == "InProgress"
    again = (await site.beat(servers["ps-2"], 3, observedGeneration=told + 3)).json()
    assert again["generation"] == told + 4, "once"
    await observe(site, servers["ps-2"], 4, told + 4)
    assert (await job_of(site, answer))["state"] == "Succeeded"


async def test_thousands_of_agents_that_observe_at_once_are_no_matter(site: Site, servers: Servers) -> None:
    answer = await switch(site, "ps-1", "ps-2")
    row = await host_row(site.app.state.database, servers["ps-2"])
    generations = {row.id: row.generation, **{uuid.uuid4(): 1 for _ in range(3_000)}}
    async with site.app.state.database.write() as session:
        await observations.observed(session, generations, site.clock.now())
    assert (await job_of(site, answer))["state"] == "Succeeded"


async def run_orphans(site: Site) -> int:
    """One look for jobs that wait in vain."""
    return await Orphans(site.app.state.database, site.clock).tick()
