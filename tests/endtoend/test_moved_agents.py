"""Machines move between real agents on the real application, and the agents tell at once that they know."""

from app.agent.heartbeat import Agent
from tests.endtoend.test_departure import agent_of, registered
from tests.support.machines import put
from tests.support.moving import job_of, switch
from tests.support.muster import Site


async def test_both_agents_learn_of_a_switch_and_report_within_seconds(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.beat(server)
    agents: dict[str, Agent] = {}
    for name in ("ps-1", "ps-2"):
        agents[name] = agent_of(site, await registered(site, server, name), list)
        await agents[name].beat()
    for number in range(3):
        assert (await put(site, f"web-{number}")).status_code == 201
    answer = await switch(site, "ps-1", "ps-2")

    told = {name: await agent.beat() for name, agent in agents.items()}
    assert all(1 <= beat.delay_seconds <= 3 for beat in told.values()), "whoever asked waits for the report"
    desired = agents["ps-2"].state.desired
    assert desired is not None
    assert desired.document["sourceMachines"] == ["web-0", "web-1", "web-2"]
    assert (await job_of(site, answer))["state"] == "InProgress"

    reports = {name: await agent.beat() for name, agent in agents.items()}
    assert all(beat.delay_seconds > 3 for beat in reports.values()), "and then as often as before"
    assert (await job_of(site, answer))["state"] == "Succeeded"
    for name in agents:
        found = await site.read_process_server(name)
        assert found["observedGeneration"] == found["generation"]


async def test_an_agent_that_restarts_meanwhile_brings_it_to_its_end(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.beat(server)
    for name in ("ps-1", "ps-2"):
        store = await registered(site, server, name)
        await agent_of(site, store, list).beat()
    await put(site, "web-1")
    answer = await switch(site, "ps-1", "ps-2")
    after_a_restart = agent_of(site, store, list)
    for _ in range(2):
        await after_a_restart.beat()
    assert (await job_of(site, answer))["state"] == "Succeeded"
