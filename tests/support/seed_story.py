"""The second half of a process server's life, told once: machines, versions, departures, takeovers, purges."""

from typing import Any

from tests.support.muster import Site, registration

VAULT = "/api/v1/vaults/contoso"
STEPS = ("component", "dependencies", "recovery-services-agent")


def _steps(status: str) -> list[dict[str, str]]:
    return [{"name": name, "status": status, "detail": "told by the story"} for name in STEPS]


async def _leave(site: Site, agent: dict[str, Any], status: str) -> None:
    headers = {"Authorization": f"Bearer {agent['credential']}"}
    await site.client.post("/agent/v1/decommission", json={"steps": _steps(status)}, headers=headers)


async def tell(site: Site, server: dict[str, Any], version: str) -> None:
    """Every event of this half occurs. `server` is a configuration server of that version."""
    first = await site.process_server(server, "life-1", agentVersion=version)
    second = await site.process_server(server, "life-2", agentVersion=version)
    for agent in (server, first, second):
        assert (await site.beat(agent, 1, agentVersion=version)).status_code == 200
    above = "9.99.1.1"
    assert (await site.beat(first, 2, agentVersion=above)).status_code == 200
    assert (await site.beat(first, 3, agentVersion=version)).status_code == 200

    machine = f"{VAULT}/configuration-servers/cs-1/source-machines/web-01"
    for body in (
        {"processServer": "life-1", "churnInBytesPerDay": 1},
        {"processServer": "life-1", "churnInBytesPerDay": 2},
        {"processServer": "life-2", "churnInBytesPerDay": 2},
    ):
        answer = await site.client.put(machine, json=body)
        assert answer.status_code in {200, 201}, answer.text
    assert (await site.client.delete(machine)).status_code == 204

    job = (await site.client.post(f"{VAULT}/process-servers/life-1/decommission")).json()
    assert (await site.client.post(f"{VAULT}/jobs/{job['id']}/cancel")).status_code == 200
    await site.client.post(f"{VAULT}/process-servers/life-1/decommission")
    await _leave(site, first, "failed")
    await site.client.post(f"{VAULT}/process-servers/life-1/decommission")
    await _leave(site, first, "done")

    await site.pass_time(925)
    assert (await site.client.post(f"{VAULT}/process-servers/life-2/takeover")).status_code == 200
    rebuilt = registration(server, "life-2", hostId="rebuilt", instanceId="rebuilt", agentVersion=version)
    assert (await site.agent_post("/agent/v1/process-servers/register", rebuilt)).status_code == 200
    assert (await site.client.post(f"{VAULT}/process-servers/life-2/purge", json={})).status_code == 200
    assert (await site.client.post(f"{VAULT}/process-servers/life-2/readmit")).status_code == 200

    # A newer release puts every version out of support, until the vault does not want to hear of it.
    assert (await site.client.post("/api/v1/releases", json={"version": "9.99.1.1"})).status_code == 201
    await site.pass_time(60, step=60)
    policy = {"rules": {"version-not-supported": {"isEnabled": False}}}
    assert (await site.client.patch(f"{VAULT}/health-policy", json=policy)).status_code == 200
