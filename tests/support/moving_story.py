"""The part of the story of every event in which machines move and configuration servers are asked for something."""

from datetime import timedelta

from app.configuration_servers.tasks import Renewals
from app.jobs.tasks import Orphans
from app.process_servers.tasks import MaintenanceEnds
from tests.support.machines import MACHINE
from tests.support.moving import SERVERS, load_balance, observe, switch
from tests.support.muster import Site

NAME = "cs-moves"


async def tell(site: Site) -> None:
    """Machines move one by one and all at once, a certificate is renewed, a maintenance ends, a job fails."""
    base = f"/api/v1/vaults/contoso/configuration-servers/{NAME}"
    server = await site.configuration_server(name=NAME)
    servers = [await site.process_server(server, f"moves-{number}") for number in (1, 2)]
    for registered in (server, *servers):
        assert (await site.beat(registered)).status_code == 200
    for number in (1, 2):
        body = {**MACHINE, "processServer": "moves-1"}
        assert (await site.client.put(f"{base}/source-machines/moved-{number}", json=body)).status_code == 201
    assert (await load_balance(site, "moves-1", "moves-2", "moved-1")).status_code == 202
    assert (await switch(site, "moves-1", "moves-2")).status_code == 202
    plan = (
        await site.client.get(f"{base}/rebalance-plan", params={"goal": "empty", "processServer": "moves-2"})
    ).json()
    applied = await site.client.post(
        f"{base}/rebalance-plan/apply", json={"token": plan["token"], "goal": "empty", "processServer": "moves-2"}
    )
    assert applied.status_code == 202, applied.text
    assert (await site.client.post(f"{base}/certificates/renew")).status_code == 202
    assert (await site.client.post(f"{base}/refresh")).status_code == 202
    await observe(site, server, 2)
    assert await Renewals(site.app.state.database, site.clock).tick() == 1
    until = (site.clock.now() + timedelta(seconds=1)).isoformat()
    drained = await site.client.patch(f"{SERVERS}/moves-1", json={"maintenance": {"isEnabled": True, "until": until}})
    assert drained.status_code == 200, drained.text
    site.manual_clock.advance(1)
    assert await MaintenanceEnds(site.app.state.database, site.clock).tick() == 1
    assert (await site.client.post(f"{base}/refresh")).status_code == 202
    assert (await site.client.delete(f"{base}?force=true")).status_code == 204
    assert await Orphans(site.app.state.database, site.clock).tick() >= 3
