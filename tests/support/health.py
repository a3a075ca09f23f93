"""Agents whose telemetry a test sets, and what the API says of their alerts."""

from datetime import timedelta
from typing import Any

from tests.support.muster import VERSION, Site
from tests.support.remembered import remembered

TOTAL = 100_000_000
VAULT = "/api/v1/vaults/contoso"
REQUIRED = (
    "ProcessServer", "ProcessServerMonitor", "cxprocessserver", "InMage PushInstall", "LogUpload",
    "InMage Scout Application Service", "obengine", "svagents", "tmansvc",
)  # fmt: skip


def telemetry(
    cpu: float | None = 10.0,
    memory: float | None = 10.0,
    free: float | None = 90.0,
    minutes: float | None = 0.0,
) -> dict[str, Any]:
    """Telemetry by what alerts look at: percent of CPU and memory in use, percent of the cache disk that is free,
    minutes to upload what is pending. None leaves it out."""
    members: dict[str, Any] = {"throughputInBytes": 1_000_000}
    if cpu is not None:
        members["cpuPercentage"] = cpu
    if memory is not None:
        members |= {"totalMemoryInBytes": TOTAL, "availableMemoryInBytes": round(TOTAL * (100 - memory) / 100)}
    if free is not None:
        members |= {"totalSpaceInBytes": TOTAL, "availableSpaceInBytes": round(TOTAL * free / 100)}
    if minutes is not None:
        members["throughputUploadPendingDataInBytes"] = round(minutes * 60 * 1_000_000)
    return members


class Agent:
    """One server's agent: numbers its heartbeats, and can send them for a while."""

    def __init__(self, site: Site, registered: dict[str, Any], version: str = VERSION, sequence: int = 0) -> None:
        self.site = site
        self.registered = registered
        self.version = version
        self.boot_id = "boot-1"
        self._sequence = sequence

    async def beat(
        self,
        services: dict[str, str] | None = None,
        on: Site | None = None,
        more: dict[str, Any] | None = None,
        skew: float | None = None,
        **load: Any,
    ) -> None:
        """A heartbeat with this load; `on` names another replica to send it to, `skew` how far its clock is ahead."""
        self._sequence += 1
        members: dict[str, Any] = {"telemetry": telemetry(**load), "observedGeneration": 1, **(more or {})}
        if services is not None:
            members["services"] = services
        if skew is not None:
            members["agentTime"] = (self.site.clock.now() + timedelta(seconds=skew)).isoformat()
        answer = await (on or self.site).beat(
            self.registered, self._sequence, self.boot_id, **{"agentVersion": self.version, **members}
        )
        assert answer.status_code == 200, answer.text

    async def hold(
        self, seconds: float, *, every: float = 60.0, ticks: bool = True, beside: "Agent | None" = None, **load: Any
    ) -> None:
        """A heartbeat now and then one `every` so many seconds, until `seconds` have passed; the monitor looks after
        each step, half a minute apart where steps are shorter, unless told not to; where nothing is due, in earnest
        only after the last step. That sends no heartbeat: the next one is the test's to send. `beside` is a server that
        is to be heard of meanwhile; the rest are silent."""
        passed = looked = heard = 0.0
        while passed < seconds:
            await self.beat(**load)
            if beside is not None and passed - heard >= 600:
                await beside.beat()
                heard = passed
            step = min(every, seconds - passed)
            self.site.manual_clock.advance(step)
            passed += step
            if ticks and (passed - looked >= 30 or passed >= seconds):
                await self.site.look(passed - looked, in_earnest=passed >= seconds)
                looked = passed


async def agents(site: Site, *names: str, **changes: Any) -> dict[str, Agent]:
    """A configuration server `cs-1` and process servers, all connected and healthy; the monitor has looked once."""
    registered = await _healthy(site, *names, **changes)
    await site.tick()
    return {name: Agent(site, server, sequence=2) for name, server in registered.items()}


@remembered
async def _healthy(site: Site, /, *names: str, **changes: Any) -> dict[str, dict[str, Any]]:
    await site.vault()
    server = await site.configuration_server()
    found = {"cs-1": server, **{name: await site.process_server(server, name, **changes) for name in names}}
    for registered in found.values():
        agent = Agent(site, registered)
        await agent.beat()
        await agent.beat()
    return found


async def alerts(site: Site, name: str = "ps-1", **query: Any) -> list[dict[str, Any]]:
    """A process server's alerts, the oldest first."""
    found = await site.walk(f"{VAULT}/process-servers/{name}/alerts", orderBy="raisedAt", **query)
    return list(found)


async def firing(site: Site, name: str = "ps-1") -> dict[str, str]:
    """The severity of what fires on a process server, by code; the same by its health errors and by its alerts."""
    errors = (await site.read_process_server(name))["healthErrors"]
    shown = {error["code"]: error["severity"] for error in errors}
    assert shown == {alert["code"]: alert["severity"] for alert in await alerts(site, name, state="firing")}
    return shown


async def told(site: Site, name: str = "ps-1", kind: str = "process-server") -> list[tuple[str, str, str]]:
    """What the events say of a server's alerts: what happened, the code, the severity."""
    return [
        (event["type"].partition(".alert-")[2], event["data"]["code"], event["data"]["severity"])
        for event in await site.events()
        if ".alert-" in event["type"] and event["resource"] == {**event["resource"], "name": name, "kind": kind}
    ]
