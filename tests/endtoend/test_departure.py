"""The operator asks, the real agent carries it out against the real application, and the server is gone at once."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from app.agent.departure import Departure
from app.agent.heartbeat import Agent
from app.agent.outcomes import ExitReason
from app.agent.registration import RegistrationRequest, register
from app.agent.state import Settings
from app.agent.store import MemoryStateStore
from app.agent.telemetry import Reading
from app.agent.uninstall import DEPENDENCIES, DONE, FAILED, RECOVERY_SERVICES_AGENT, SERVER, SKIPPED, Step
from tests.agent.fakes import FakeClock
from tests.support.muster import VERSION, Site, client_of, registration

URL = "http://muster.test"
IN_VAULT = "/api/v1/vaults/contoso/process-servers"
DONE_STEPS = [
    Step(SERVER, DONE, "svagents stopped and disabled"),
    Step(DEPENDENCIES, SKIPPED, "not installed"),
    Step(RECOVERY_SERVICES_AGENT, DONE, "removed"),
]


class Source:
    """The same telemetry each time."""

    async def read(self) -> Reading:
        """A reading."""
        return Reading({"cpuPercentage": 12.5}, None, ("10.0.0.9",))


async def registered(site: Site, server: dict[str, Any], name: str, host_id: str | None = None) -> MemoryStateStore:
    """The state of a process server that the agent's own code has registered."""
    body = registration(server, name)
    store = MemoryStateStore()
    request = RegistrationRequest(
        server_mode="PS",
        settings=Settings(url=URL, agent_version=VERSION, ip_addresses=("10.0.0.9",)),
        name=name,
        fqdn=body["fqdn"],
        instance_id=body["instanceId"],
        ip_addresses=("10.0.0.9",),
        agent_version=VERSION,
        os={"type": "Linux"},
        hardware={"cpuCount": 8},
        configuration_server=body["configurationServer"],
        kind="scaleOut",
        secret=body["passphrase"],
        host_id=host_id,
    )
    await register(request, store, connect=lambda: client_of(site.app, None))
    return store


def agent_of(site: Site, store: MemoryStateStore, uninstall: Callable[[], list[Step]]) -> Agent:
    """The agent on that state; time passes at once."""
    return Agent(
        store,
        Source(),
        connect=lambda: client_of(site.app, None),
        clock=FakeClock(),
        chance=random.Random(1).random,
        departure=Departure(uninstall),
    )


async def test_asked_carried_out_and_gone(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.beat(server)
    agent = agent_of(site, await registered(site, server, "ps-1"), lambda: DONE_STEPS)
    await agent.beat()
    asked = await site.client.post(f"{IN_VAULT}/ps-1/decommission", json={"reason": "too small"})
    assert asked.status_code == 202, asked.text
    reason = await asyncio.wait_for(agent.run(), 30)
    assert reason is ExitReason.DECOMMISSIONED
    assert [row["name"] for row in await site.walk(IN_VAULT)] == ["cs-1"]
    job = (await site.client.get(asked.headers["Location"])).json()
    assert (job["state"], job["progressPercentage"]) == ("Succeeded", 100)
    event = (await site.events(type="process-server.decommissioned"))[0]
    assert event["data"]["steps"] == [step.to_json() for step in DONE_STEPS]
    # The machine may come back: as a new server.
    again = await registered(site, server, "ps-1")
    state = again.load()
    assert state is not None
    assert state.identity is not None
    assert state.identity.id != event["resource"]["id"]


async def test_a_step_that_fails_leaves_a_living_server(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.beat(server)
    agent = agent_of(site, await registered(site, server, "ps-1"), lambda: [Step(SERVER, FAILED, "exit code 1603")])
    await agent.beat()
    asked = await site.client.post(f"{IN_VAULT}/ps-1/decommission")
    running = asyncio.create_task(agent.run())
    async with asyncio.timeout(30):
        while (job := (await site.client.get(asked.headers["Location"])).json())["state"] in {"Queued", "InProgress"}:
            await asyncio.sleep(0.01)
        while (await site.read_process_server())["observedGeneration"] < 3:
            await asyncio.sleep(0.01)
    agent.stop()
    assert await running is ExitReason.STOPPED
    assert (job["state"], job["error"]["code"]) == ("Failed", "step-failed")
    assert (await site.read_process_server())["connectionState"] == "Connected"
