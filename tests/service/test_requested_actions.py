"""What a configuration server's agent is asked to do: report at once, renew its certificate."""

from datetime import timedelta

import pytest

from app.configuration_servers.tasks import Renewals
from app.core.wire import rfc3339
from app.jobs.tasks import Orphans
from app.vocabulary import CERTIFICATE_VALID_DAYS
from tests.support.machines import SERVER, SMALL, Servers, connected_servers
from tests.support.moving import job_of, observe, outlive
from tests.support.muster import Site, problem

REFRESH = f"{SERVER}/refresh"
RENEW = f"{SERVER}/certificates/renew"


@pytest.fixture
async def servers(site: Site) -> Servers:
    """A configuration server and a process server, both connected."""
    return await connected_servers(site, ps_1=SMALL)


async def renewals(site: Site) -> int:
    """One look for renewals that were observed."""
    return await Renewals(site.app.state.database, site.clock).tick()


async def orphans(site: Site) -> int:
    """One look for jobs that wait in vain."""
    return await Orphans(site.app.state.database, site.clock).tick()


async def types_since(site: Site, first: str) -> list[str]:
    """The types of the events from the first of a type on."""
    types = await site.event_types()
    return types[types.index(first) :]


async def test_a_refresh_stands_in_the_desired_state_until_it_is_observed(site: Site, servers: Servers) -> None:
    answer = await site.client.post(REFRESH)
    job = await job_of(site, answer)
    assert (job["type"], job["state"], job["resource"]["kind"]) == ("refresh", "Queued", "configuration-server")
    told = (await site.beat(servers["cs-1"], 2)).json()
    assert told["desired"]["actions"] == [{"type": "refresh", "job": job["id"]}]
    assert (await job_of(site, answer))["state"] == "Queued", "it was told, but has not reported"
    await observe(site, servers["cs-1"], 3, told["generation"])
    assert (await job_of(site, answer))["state"] == "Succeeded"
    headers = {"Authorization": f"Bearer {servers['cs-1']['credential']}"}
    desired = (await site.client.get("/agent/v1/desired-state", headers=headers)).json()
    assert desired["actions"] == []
    assert await types_since(site, "configuration-server.refresh-requested") == [
        "configuration-server.refresh-requested",
        "configuration-server.refreshed",
    ]


async def test_asking_again_while_it_is_open_is_the_same_job(site: Site, servers: Servers) -> None:
    first, again = [await site.client.post(REFRESH) for _ in range(2)]
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    await observe(site, servers["cs-1"], 2)
    assert (await site.client.post(REFRESH)).json()["id"] != first.json()["id"]


async def test_process_servers_are_not_asked(site: Site, servers: Servers) -> None:
    await site.client.post(REFRESH)
    assert "desired" not in (await site.beat(servers["ps-1"], 2, observedGeneration=1)).json()


async def test_a_refresh_that_nobody_has_observed_can_be_cancelled(site: Site, servers: Servers) -> None:
    answer = await site.client.post(REFRESH)
    cancelled = await site.client.post(f"{answer.headers['Location']}/cancel")
    assert cancelled.json()["state"] == "Cancelled"
    told = (await site.beat(servers["cs-1"], 2)).json()
    assert told["desired"]["actions"] == []
    await observe(site, servers["cs-1"], 3)
    assert (await job_of(site, answer))["state"] == "Cancelled"


@pytest.mark.no_brake
async def test_only_a_connected_one_is_asked_and_one_that_falls_silent_fails_it(site: Site, servers: Servers) -> None:
    answer = await site.client.post(REFRESH)
    assert await orphans(site) == 0
    await outlive(site, servers["ps-1"])
    refused = problem(await site.client.post(REFRESH), 409, "server-not-connected")
    assert "'cs-1' is Disconnected" in refused["detail"]
    assert await orphans(site) == 1
    job = await job_of(site, answer)
    assert (job["state"], job["error"]["code"]) == ("Failed", "server-disconnected")
    await observe(site, servers["cs-1"], 200)
    assert (await job_of(site, answer))["state"] == "Failed", "what has ended stays as it ended"


async def test_a_renewed_certificate_is_valid_for_three_years_more(site: Site, servers: Servers) -> None:
    site.manual_clock.advance(60)
    before = await site.read_configuration_server()
    answer = await site.client.post(RENEW)
    told = (await site.beat(servers["cs-1"], 2)).json()
    assert [action["type"] for action in told["desired"]["actions"]] == ["renew-certificate"]
    assert await renewals(site) == 0
    await observe(site, servers["cs-1"], 3, told["generation"])
    assert (await job_of(site, answer))["state"] == "InProgress"
    assert await renewals(site) == 1
    job = await job_of(site, answer)
    expires = site.clock.now() + timedelta(days=CERTIFICATE_VALID_DAYS)
    assert job["state"] == "Succeeded"
    assert job["details"]["expiresAt"] == rfc3339(expires)
    after = await site.read_configuration_server()
    assert after["sslCertExpiryDate"] > before["sslCertExpiryDate"]
    assert await renewals(site) == 0
    assert (await types_since(site, "configuration-server.certificate-renewal-requested"))[-1] == (
        "configuration-server.certificate-renewed"
    )


async def test_every_component_that_is_silent_or_out_of_support_blocks_a_renewal(site: Site, servers: Servers) -> None:
    silent = await site.process_server(servers["cs-1"], "ps-2")
    old = await site.process_server(servers["cs-1"], "ps-3", agentVersion="9.40.0.0")
    await site.beat(old, agentVersion="9.40.0.0")
    refused = problem(await site.client.post(RENEW), 409, "renewal-blocked")
    assert [(blocker["code"], blocker["detail"].split("'")[1]) for blocker in refused["blockers"]] == [
        ("not-connected", "ps-2"),
        ("not-current", "ps-3"),
    ]
    await site.beat(silent)
    await site.beat(old, 2)
    assert (await site.client.post(RENEW)).status_code == 202


async def test_a_renewal_of_a_server_that_is_deleted_meanwhile_fails(site: Site, servers: Servers) -> None:
    answer = await site.client.post(RENEW)
    await observe(site, servers["cs-1"], 2)
    assert (await site.client.delete(f"{SERVER}?force=true")).status_code == 204
    assert await renewals(site) == 1
    job = await job_of(site, answer)
    assert (job["state"], job["error"]["code"]) == ("Failed", "server-removed")


async def test_a_request_to_a_server_that_is_deleted_meanwhile_fails(site: Site, servers: Servers) -> None:
    answer = await site.client.post(REFRESH)
    assert (await site.client.delete(f"{SERVER}?force=true")).status_code == 204
    assert await orphans(site) == 1
    assert (await job_of(site, answer))["error"]["code"] == "server-removed"


@pytest.mark.parametrize("path", [REFRESH, RENEW])
async def test_readers_may_not_and_unknown_ones_are_told(site: Site, servers: Servers, path: str) -> None:
    reader = await site.caller("reader")
    problem(await reader.post(path), 403, "forbidden")
    problem(await site.client.post(path.replace("cs-1", "cs-9")), 404, "configuration-server-not-found")
