"""What `Unknown` means for the rest: neither connected nor dead."""

import pytest
from sqlalchemy import delete, select

from app.core.db import Database
from app.health.findings import Finding
from app.health.queries import process_servers_on
from app.health.raising import put, refresh
from app.models import Alert, Host
from app.vocabulary import AlertCode, Severity
from tests.support.fleets import Fleet, dark_site, let_brakes_go, of_type
from tests.support.muster import Site, machine, problem, registration

TIMEOUT = 900


@pytest.fixture
async def fleet(site: Site) -> Fleet:
    """A vault without servers; the monitor has looked once."""
    await site.vault()
    await site.tick()
    return Fleet(site)


async def test_an_unknown_server_is_seen_as_such(site: Site, fleet: Fleet) -> None:
    names = await dark_site(fleet)
    seen = await site.read_process_server(names[1])
    assert (seen["connectionState"], seen["health"]) == ("Unknown", "Warning")
    (error,) = seen["healthErrors"]
    assert (error["code"], error["severity"], error["value"]) == ("connection-unknown", "Warning", 900.0)
    assert error["since"] == seen["lastHeartbeat"]
    found = await site.walk("/api/v1/vaults/contoso/process-servers", connectionState="Unknown")
    assert sorted(item["name"] for item in found) == sorted(names)
    found = await site.walk("/api/v1/vaults/contoso/configuration-servers", connectionState="Unknown")
    assert [item["name"] for item in found] == ["cs-1"]
    assert await site.walk("/api/v1/vaults/contoso/process-servers", connectionState="Disconnected") == []
    summary = (await site.client.get("/api/v1/vaults/contoso/summary")).json()
    assert summary["configurationServers"]["byConnectionState"] == {"Unknown": 1}
    assert summary["processServers"]["byConnectionState"] == {"Unknown": 5}
    assert summary["processServers"]["byHealth"] == {"Warning": 5}
    await let_brakes_go(site)
    seen = await site.read_process_server(names[1])
    assert (seen["connectionState"], seen["health"]) == ("Disconnected", "Critical")
    assert seen["healthErrors"][0]["code"] == "heartbeat-missing"


async def firing(site: Site) -> dict[tuple[str, str], str]:
    """The alert of silence that fires on each server, by kind and name."""
    found = await site.walk("/api/v1/vaults/contoso/alerts", state="firing", limit=500)
    alerts = {(alert["resource"]["kind"], alert["resource"]["name"]): alert["code"] for alert in found}
    assert len(alerts) == len(found)
    return alerts


async def test_its_alert_goes_with_its_state(site: Site, fleet: Fleet) -> None:
    names = await dark_site(fleet)
    servers = [("configuration-server", "cs-1"), *(("process-server", name) for name in names)]
    assert await firing(site) == dict.fromkeys(servers, "connection-unknown")
    await fleet.beat(names[1])
    assert await firing(site) == {
        server: "connection-unknown" for server in servers if server != ("process-server", names[1])
    }
    assert (await site.read_process_server(names[1]))["health"] == "Healthy"
    await let_brakes_go(site)
    await fleet.beat(names[1])
    assert await firing(site) == {
        server: "heartbeat-missing" for server in servers if server != ("process-server", names[1])
    }
    # The brake and the connections have events of their own.
    assert await of_type(site, ".alert-raised", ".alert-cleared") == []


async def test_an_alert_that_fired_before_goes_on_and_counts(site: Site, fleet: Fleet) -> None:
    names = await fleet.add_site("cs-1", 4)
    await fleet.beat(*names)
    async with site.app.state.database.write() as session:
        host = (await session.execute(select(Host).where(Host.host_id == machine("cs-1-ps-1")["hostId"]))).scalar_one()
        (server,) = (await process_servers_on(session, [host.id], site.clock.now())).values()
        found = Finding(AlertCode.CPU_UTILISATION, Severity.CRITICAL, site.clock.now(), 99, 95)
        put(session, {}, server, found, site.clock.now())
        await refresh(session, [host])
    await site.pass_time(TIMEOUT)
    await site.pass_time(120)
    seen = await site.read_process_server("cs-1-ps-1")
    assert (seen["connectionState"], seen["health"]) == ("Unknown", "Critical")
    assert [error["code"] for error in seen["healthErrors"]] == ["cpu-utilisation", "connection-unknown"]
    assert (await site.read_process_server("cs-1-ps-2"))["health"] == "Warning"


async def test_the_look_at_all_servers_finds_nothing_to_put_right(site: Site, fleet: Fleet, database: Database) -> None:
    await dark_site(fleet)
    site.manual_clock.advance(60)
    assert await site.app.state.alert_sweep.tick() == 0
    async with database.write() as session:
        await session.execute(delete(Alert))
    site.manual_clock.advance(60)
    assert await site.app.state.alert_sweep.tick() == 5
    assert set((await firing(site)).values()) == {"connection-unknown"}


async def test_an_unknown_server_takes_no_machines(site: Site, fleet: Fleet) -> None:
    await dark_site(fleet)
    base = "/api/v1/vaults/contoso/configuration-servers/cs-1"
    capacity = (await site.client.get(f"{base}/capacity")).json()
    assert {entry["connectionState"] for entry in capacity["processServers"]} == {"Unknown"}
    assert not any(entry["takesMachines"] for entry in capacity["processServers"])
    answer = await site.client.put(
        f"{base}/source-machines/sql-1", json={"processServer": "cs-1-ps-1", "churnInBytesPerDay": 1}
    )
    document = problem(answer, 409, "target-not-fit")
    assert [entry["code"] for entry in document["blockers"]] == ["connection-unknown"]


async def test_an_unknown_server_is_not_purged(site: Site, fleet: Fleet) -> None:
    await dark_site(fleet)
    path = "/api/v1/vaults/contoso/process-servers/cs-1-ps-1"
    preview = (await site.client.get(f"{path}/purge-preview")).json()
    assert [entry["code"] for entry in preview["blockers"]] == ["connection-unknown"]
    assert "acknowledge the brake" in preview["blockers"][0]["detail"]
    problem(await site.client.post(f"{path}/purge"), 409, "purge-blocked")
    bulk = (await site.client.post("/api/v1/vaults/contoso/purges", json={})).json()
    assert bulk["matched"] == 0
    forced = await site.client.post(f"{path}/purge", json={"force": ["connection-unknown"]})
    assert forced.status_code == 200, forced.text
    (event,) = await of_type(site, ".purged")
    assert event["data"]["forced"] == ["connection-unknown"]
    await let_brakes_go(site)
    assert (await site.client.post("/api/v1/vaults/contoso/process-servers/cs-1-ps-2/purge")).status_code == 200


async def test_an_unknown_server_is_not_decommissioned(site: Site, fleet: Fleet) -> None:
    await dark_site(fleet)
    answer = await site.client.post("/api/v1/vaults/contoso/process-servers/cs-1-ps-1/decommission")
    document = problem(answer, 409, "decommission-blocked")
    assert [entry["code"] for entry in document["blockers"]] == ["configuration-server-not-connected", "not-connected"]
    assert "unknown" in document["blockers"][0]["detail"]
    assert "purge it instead" not in document["detail"]


async def test_an_unknown_server_is_not_pushed_out(site: Site, fleet: Fleet) -> None:
    await site.tick()
    server = await site.configuration_server()
    agents = [await site.process_server(server, f"ps-{number}") for number in range(1, 4)]
    for agent in (server, *agents):
        await site.beat(agent)
    await site.pass_time(TIMEOUT - 5)
    takeover = "/api/v1/vaults/contoso/process-servers/ps-1/takeover"
    problem(await site.client.post(takeover), 409, "takeover-blocked")
    await site.pass_time(5)
    assert "may be alive" in problem(await site.client.post(takeover), 409, "takeover-blocked")["detail"]
    clone = registration(server, "ps-2", instanceId="another machine")
    refused = problem(await site.agent_post("/agent/v1/process-servers/register", clone), 409, "duplicate-identity")
    assert "acknowledge the brake" in refused["detail"]
    same = await site.agent_post("/agent/v1/process-servers/register", registration(server, "ps-2"))
    assert same.status_code == 200, "the same machine registers again whatever is thought of it"
    assert (await site.read_process_server("ps-2"))["connectionState"] == "Unknown"
    await site.beat(same.json())
    assert (await site.read_process_server("ps-2"))["connectionState"] == "Connected"
    await let_brakes_go(site)
    assert (await site.client.post(takeover)).status_code == 200


async def test_a_takeover_that_was_approved_before_waits_while_it_is_unknown(site: Site, fleet: Fleet) -> None:
    await site.tick()
    server = await site.configuration_server()
    agents = [await site.process_server(server, f"ps-{number}") for number in range(1, 4)]
    await site.client.post("/api/v1/vaults/contoso/process-servers/ps-1/takeover")
    for agent in (server, *agents):
        await site.beat(agent)
    await site.pass_time(TIMEOUT)
    rebuilt = registration(server, "ps-1", hostId="rebuilt", instanceId="rebuilt")
    answer = await site.agent_post("/agent/v1/process-servers/register", rebuilt)
    assert "may be alive" in problem(answer, 409, "name-in-use-by-another-host")["detail"]
