"""Maintenance: no new machines, muted alerts, through whatever happens to the server, and an end by itself."""

import asyncio
from datetime import timedelta

import pytest

from app.process_servers.tasks import MaintenanceEnds
from tests.support.machines import LARGE, SMALL, Servers, connected_servers, put
from tests.support.moving import SERVERS, outlive, switch
from tests.support.muster import VERSION, Site, problem, registration

HOUR = 3600


@pytest.fixture
async def servers(site: Site) -> Servers:
    """Two process servers that are connected; the first one is in maintenance for an hour."""
    found = await connected_servers(site, ps_1=SMALL, ps_2=LARGE)
    await drain(site, HOUR)
    return found


async def drain(site: Site, seconds: float | None) -> None:
    """Put ps-1 into maintenance, without an end where `seconds` is None."""
    until = None if seconds is None else (site.clock.now() + timedelta(seconds=seconds)).isoformat()
    maintenance = {"isEnabled": True, "until": until, "reason": "new disks"}
    answer = await site.client.patch(f"{SERVERS}/ps-1", json={"maintenance": maintenance})
    assert answer.status_code == 200, answer.text


async def ends(site: Site) -> int:
    """One look for maintenance that is over."""
    return await MaintenanceEnds(site.app.state.database, site.clock).tick()


async def is_enabled(site: Site) -> bool:
    """Whether ps-1 is in maintenance."""
    return bool((await site.read_process_server("ps-1"))["maintenance"]["isEnabled"])


async def test_it_ends_by_itself_and_everybody_is_told_once(site: Site, servers: Servers) -> None:
    generation = (await site.read_process_server("ps-1"))["generation"]
    site.manual_clock.advance(HOUR - 1)
    assert (await is_enabled(site), await ends(site)) == (True, 0)
    site.manual_clock.advance(1)
    assert await is_enabled(site) is False, "whoever asks before the look is answered by the time"
    assert (await ends(site), await ends(site)) == (1, 0)
    event = (await site.events())[-1]
    assert (event["type"], event["actor"]) == ("process-server.maintenance-ended", "monitor")
    assert event["data"]["reason"] == "new disks"
    assert (await site.read_process_server("ps-1"))["generation"] == generation + 1
    told = (await site.beat(servers["ps-1"], 2, observedGeneration=generation)).json()
    assert told["desired"]["maintenance"] == {"isEnabled": False, "until": None}
    assert (await put(site, "web-1")).status_code == 201


async def test_one_without_an_end_stays_until_it_is_ended(site: Site, servers: Servers) -> None:
    await drain(site, None)
    site.manual_clock.advance(400 * 24 * HOUR)
    assert (await ends(site), await is_enabled(site)) == (0, True)


async def test_one_that_was_prolonged_does_not_end_at_its_old_time(site: Site, servers: Servers) -> None:
    await drain(site, 2 * HOUR)
    site.manual_clock.advance(HOUR)
    assert (await ends(site), await is_enabled(site)) == (0, True)


async def test_it_takes_no_new_machines_but_what_it_carries_stays_and_may_leave(site: Site, servers: Servers) -> None:
    await site.client.patch(f"{SERVERS}/ps-1", json={"maintenance": {"isEnabled": False}})
    await put(site, "web-1")
    await put(site, "web-2", processServer="ps-2")
    await drain(site, HOUR)
    for answer in (await put(site, "web-3"), await put(site, "web-2"), await switch(site, "ps-2", "ps-1")):
        refused = problem(answer, 409, "target-not-fit")
        assert [blocker["code"] for blocker in refused["blockers"]] == ["in-maintenance"]
    assert (await put(site, "web-1", churnInBytesPerDay=1)).status_code == 200
    assert (await switch(site, "ps-1", "ps-2")).status_code == 202


async def test_it_survives_a_registration_anew_an_upgrade_and_a_restart(site: Site, servers: Servers) -> None:
    body = registration(servers["cs-1"], "ps-1", agentVersion="9.61.7016.1")
    again = await site.agent_post("/agent/v1/process-servers/register", body)
    assert again.status_code == 200, again.text
    assert await is_enabled(site)
    assert (await site.beat(again.json(), 1, "boot-2", agentVersion="9.61.7016.1")).status_code == 200
    assert await is_enabled(site)
    assert (await site.beat(again.json(), 1, "boot-3", agentVersion=VERSION)).status_code == 200
    assert await is_enabled(site)


@pytest.mark.no_brake
async def test_its_alerts_are_recorded_and_muted_and_it_survives_silence_and_return(
    site: Site, servers: Servers
) -> None:
    await drain(site, 10 * HOUR)
    await outlive(site, servers["ps-2"], servers["cs-1"])
    found = await site.read_process_server("ps-1")
    assert found["connectionState"] == "Disconnected", "state is recorded all the same"
    alerts = (await site.client.get(f"{SERVERS}/ps-1/alerts")).json()["items"]
    assert [(alert["code"], alert["muted"]) for alert in alerts] == [("heartbeat-missing", True)]
    assert (await site.read_configuration_server())["health"] == "Healthy"
    await site.beat(servers["ps-1"], 200)
    assert await is_enabled(site)


@pytest.mark.no_brake
async def test_it_survives_a_rebuilt_machine(site: Site, servers: Servers) -> None:
    await drain(site, 10 * HOUR)
    await outlive(site, servers["ps-2"], servers["cs-1"])
    assert (await site.client.post(f"{SERVERS}/ps-1/takeover")).status_code in {200, 201}
    body = registration(servers["cs-1"], "ps-1", hostId="rebuilt-host")
    assert (await site.agent_post("/agent/v1/process-servers/register", body)).status_code == 200
    assert await is_enabled(site)


async def test_it_begins_ends_and_the_server_registers_again_all_at_once(site: Site, servers: Servers) -> None:
    body = registration(servers["cs-1"], "ps-1")
    register = "/agent/v1/process-servers/register"
    for round_ in range(10):
        site.manual_clock.advance(2 * HOUR)
        answers = await asyncio.gather(
            *(site.agent_post(register, {**body, "dataTransferPort": 9000 + 3 * round_ + at}) for at in range(3)),
            *(
                site.client.patch(
                    f"{SERVERS}/ps-1", json={"maintenance": {"isEnabled": True, "reason": f"{round_} {at}"}}
                )
                for at in range(3)
            ),
            return_exceptions=True,
        )
        await ends(site)
        await drain(site, HOUR)
        assert [getattr(answer, "status_code", answer) for answer in answers] == [200] * 6
