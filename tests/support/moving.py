"""Switches and load balances, and what their tests look at."""

from typing import Any

import httpx

from tests.support.muster import Site

SERVERS = "/api/v1/vaults/contoso/process-servers"
JOBS = "/api/v1/vaults/contoso/jobs"


async def switch(site: Site, source: str, target: str, **members: Any) -> httpx.Response:
    """Ask for the whole load of `source` to go to `target`."""
    return await site.client.post(f"{SERVERS}/{source}/switch", json={"target": target, **members})


async def load_balance(site: Site, source: str, target: str, *machines: str, **members: Any) -> httpx.Response:
    """Ask for some machines of `source` to go to `target`."""
    body = {"target": target, "machines": list(machines), **members}
    return await site.client.post(f"{SERVERS}/{source}/load-balance", json=body)


async def job_of(site: Site, answer: httpx.Response) -> dict[str, Any]:
    """The job that an answer's `Location` leads to, as it is now."""
    assert answer.status_code == 202, answer.text
    found = await site.client.get(answer.headers["Location"])
    assert found.status_code == 200, found.text
    return dict(found.json())


async def carriers(site: Site, server: str = "cs-1") -> dict[str, str]:
    """Which process server carries each machine."""
    machines = await site.walk(f"/api/v1/vaults/contoso/configuration-servers/{server}/source-machines")
    return {machine["name"]: machine["processServer"] for machine in machines}


async def observe(site: Site, registered: dict[str, Any], sequence: int, generation: int | None = None) -> Any:
    """A heartbeat that has observed a generation, by default the present one. Returns the answer's body."""
    if generation is None:
        generation = (await site.beat(registered, sequence)).json()["generation"]
        sequence += 1
    answer = await site.beat(registered, sequence, observedGeneration=generation)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def outlive(site: Site, *alive: dict[str, Any]) -> None:
    """Let the heartbeat timeout pass for all but these servers. Their sequences go on at 100."""
    for sequence in range(100, 110):
        await site.pass_time(100)
        for registered in alive:
            assert (await site.beat(registered, sequence)).status_code == 200
