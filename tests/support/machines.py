"""Source machines, and the calls that their tests begin with."""

from typing import Any

import httpx

from tests.support.muster import Site
from tests.support.remembered import remembered

GB = 2**30
TB = 1024 * GB
SERVER = "/api/v1/vaults/contoso/configuration-servers/cs-1"
MACHINES = f"{SERVER}/source-machines"
SMALL = {"cpuCount": 4, "totalMemoryInBytes": 8 * GB}
LARGE = {"cpuCount": 12, "totalMemoryInBytes": 24 * GB}
MACHINE: dict[str, Any] = {
    "processServer": "ps-1",
    "churnInBytesPerDay": 10 * GB,
    "disks": [{"sizeInBytes": 100 * GB}],
    "osType": "Windows",
    "agentVersion": "9.62.7096.1",
    "lastRebootAgentVersion": "9.60.6956.1",
}

Servers = dict[str, dict[str, Any]]


@remembered
async def connected_servers(site: Site, /, **hardware: dict[str, int]) -> Servers:
    """A configuration server `cs-1` with process servers `ps_<n>` of this hardware; all of them are connected."""
    await site.vault()
    found = {"cs-1": await site.configuration_server()}
    for name, size in hardware.items():
        named = name.replace("_", "-")
        found[named] = await site.process_server(found["cs-1"], named, hardware=size)
    for registered in found.values():
        answer = await site.beat(registered)
        assert answer.status_code == 200, answer.text
    return found


async def put(
    site: Site, name: str = "sql-1", *, headers: dict[str, str] | None = None, **members: Any
) -> httpx.Response:
    """A PUT of the usual machine with other members; None leaves one out."""
    body = {key: value for key, value in {**MACHINE, **members}.items() if value is not None}
    return await site.client.put(f"{MACHINES}/{name}", json=body, headers=headers)


async def seed(site: Site, server: dict[str, Any], count: int, churn: int = 0) -> None:
    """Machines that are there already; churn in bytes per day."""
    for number in range(count):
        await site.source_machine(server["id"], f"{server['name']}-seed-{number}", churn)


def accepted(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The machine of an answer that must have this status."""
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def last_event(site: Site) -> dict[str, Any]:
    """The newest event."""
    return (await site.events())[-1]
