"""Alerts over the API: lists, roll-up of health, maintenance, what no heartbeat tells, departures."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core.db import Database
from app.health.raising import refresh
from app.models import Alert, ConfigurationServer, Host
from tests.support.health import VAULT, Agent, agents, alerts, firing, told
from tests.support.machines import accepted
from tests.support.muster import Site, pointers, problem, registration
from tests.support.rows import count, host_row_id

DAY = 86_400


async def health_of(site: Site, name: str = "cs-1") -> tuple[str, str]:
    """The health of a configuration server and of its vault."""
    vault = (await site.client.get(VAULT)).json()
    assert vault == (await site.client.get("/api/v1/vaults")).json()["items"][0]
    assert vault["health"] == (await site.client.get(f"{VAULT}/summary")).json()["health"]
    server = await site.read_configuration_server(name)
    (listed,) = (await site.client.get(f"{VAULT}/configuration-servers", params={"q": name})).json()["items"]
    assert listed["health"] == server["health"]
    return server["health"], vault["health"]


async def named(site: Site, path: str, **query: Any) -> list[str]:
    """The names in a list."""
    return [entry["name"] for entry in await site.walk(path, **query)]


@pytest.mark.no_brake
async def test_health_rolls_up_and_lists_are_filtered_by_it(site: Site) -> None:
    found = await agents(site, "ps-1", "ps-2")
    key = await site.registration_key()
    other = Agent(site, await site.configuration_server(name="cs-2", key=key))
    await other.beat()
    assert await health_of(site) == ("Healthy", "Healthy")
    for _ in range(31):
        await found["ps-1"].beat(cpu=85.0)
        for agent in (found["cs-1"], found["ps-2"], other):
            await agent.beat()
        await site.pass_time(30, step=30)
    assert await health_of(site) == ("Warning", "Warning")
    assert await health_of(site, "cs-2") == ("Healthy", "Warning")
    servers = f"{VAULT}/configuration-servers"
    assert await named(site, servers, health="Warning") == ["cs-1"]
    assert await named(site, servers, health="Healthy") == ["cs-2"]
    assert await named(site, servers, health="Critical") == []
    assert await named(site, f"{VAULT}/process-servers", health="Warning") == ["ps-1"]
    summary = (await site.client.get(f"{VAULT}/summary")).json()
    assert summary["configurationServers"]["byHealth"] == {"Warning": 1, "Healthy": 1}
    assert summary["processServers"]["byHealth"] == {"Warning": 1, "Healthy": 3}
    await site.pass_time(905)
    assert await health_of(site) == ("Critical", "Critical")
    assert await named(site, servers, health="Critical") == ["cs-1", "cs-2"]
    for agent in (*found.values(), other):
        await agent.beat()
    assert await health_of(site) == ("Healthy", "Healthy")


async def test_the_sites_list_has_its_own_alerts_and_its_process_servers(site: Site) -> None:
    await agents(site, "ps-1")
    await site.pass_time(905)
    found = await site.walk(f"{VAULT}/configuration-servers/cs-1/alerts")
    kinds = sorted((alert["resource"]["kind"], alert["resource"]["name"]) for alert in found)
    assert kinds == [("configuration-server", "cs-1"), ("process-server", "cs-1"), ("process-server", "ps-1")]
    assert {alert["configurationServer"] for alert in found} == {"cs-1"}
    server = await site.read_configuration_server()
    assert [error["code"] for error in server["healthErrors"]] == ["heartbeat-missing"], "once, not for both of a host"


async def test_lists_are_filtered_and_paged(site: Site) -> None:
    found = await agents(site, "ps-1")
    agent = found["ps-1"]
    await agent.hold(930, beside=found["cs-1"], cpu=97.0, memory=85.0, free=26.0)
    await agent.beat(cpu=10.0, memory=85.0, free=26.0)
    everything = await site.walk(f"{VAULT}/alerts")
    assert len(everything) == 3

    async def codes(**query: Any) -> list[str]:
        return sorted(alert["code"] for alert in await site.walk(f"{VAULT}/process-servers/ps-1/alerts", **query))

    assert await codes() == ["cache-free-space", "cpu-utilisation", "memory-usage"]
    assert await codes(state="firing") == ["cache-free-space", "memory-usage"]
    assert await codes(state="cleared") == ["cpu-utilisation"]
    assert await codes(severity="Critical") == ["cpu-utilisation"]
    assert await codes(severity=["Critical", "Warning"], state="firing") == ["cache-free-space", "memory-usage"]
    assert await codes(code=["memory-usage", "clock-skew"]) == ["memory-usage"]
    assert await codes(code="clock-skew") == []
    newest_first = await site.walk(f"{VAULT}/alerts", limit=1)
    assert newest_first == everything
    assert await site.walk(f"{VAULT}/alerts", limit=1, orderBy="raisedAt") == everything[::-1]
    one = f"{VAULT}/configuration-servers/cs-1/process-servers/ps-1/alerts"
    assert await site.walk(one) == await site.walk(f"{VAULT}/process-servers/ps-1/alerts")


async def test_what_is_not_there_and_what_makes_no_sense(site: Site) -> None:
    await agents(site, "ps-1")
    for path, code in (
        ("/api/v1/vaults/nowhere/alerts", "vault-not-found"),
        (f"{VAULT}/configuration-servers/nobody/alerts", "configuration-server-not-found"),
        (f"{VAULT}/configuration-servers/cs-1/process-servers/nobody/alerts", "process-server-not-found"),
        (f"{VAULT}/configuration-servers/nobody/process-servers/ps-1/alerts", "configuration-server-not-found"),
        (f"{VAULT}/process-servers/nobody/alerts", "process-server-not-found"),
    ):
        problem(await site.client.get(path), 404, code)
    for wrong, pointer in (
        ({"state": "open"}, "#/query/state"),
        ({"code": "cpu"}, "#/query/code/0"),
        ({"severity": "Bad"}, "#/query/severity/0"),
        ({"orderBy": "code"}, "#/query/orderBy"),
    ):
        assert pointers(await site.client.get(f"{VAULT}/alerts", params=wrong)) == [pointer], wrong
    answer = await site.client.get(f"{VAULT}/alerts", params={"cursor": "x"})
    problem(answer, 400, "cursor-unreadable")


async def test_a_token_of_another_vault_sees_no_alert(site: Site) -> None:
    await agents(site, "ps-1")
    await site.vault("other")
    async with await site.caller("reader", "other") as stranger:
        for path in (f"{VAULT}/alerts", f"{VAULT}/health-policy", f"{VAULT}/process-servers/ps-1/alerts"):
            problem(await stranger.get(path), 404, "vault-not-found")


async def test_maintenance_mutes_alerts_and_hides_nothing(site: Site) -> None:
    found = await agents(site, "ps-1")
    until = (site.clock.now() + timedelta(seconds=1000)).isoformat()
    path = f"{VAULT}/process-servers/ps-1"
    answer = await site.client.patch(path, json={"maintenance": {"isEnabled": True, "until": until}})
    assert answer.status_code == 200, answer.text
    for _ in range(31):
        await found["ps-1"].beat(cpu=97.0)
        await found["cs-1"].beat()
        await site.pass_time(30, step=30)
    view = await site.read_process_server()
    assert (view["health"], [error["muted"] for error in view["healthErrors"]]) == ("Critical", [True])
    (alert,) = await alerts(site)
    assert (alert["muted"], alert["severity"]) == (True, "Critical")
    (event,) = [event for event in await site.events() if ".alert-raised" in event["type"]]
    assert event["data"]["muted"] is True
    assert await health_of(site) == ("Healthy", "Healthy")
    assert await named(site, f"{VAULT}/configuration-servers", health="Healthy") == ["cs-1"]
    assert await named(site, f"{VAULT}/process-servers", health="Critical") == ["ps-1"]
    site.manual_clock.advance(1000 - 31 * 30)
    await found["ps-1"].beat(cpu=97.0)
    assert await health_of(site) == ("Critical", "Critical"), "maintenance ends by itself"
    assert (await alerts(site))[0]["muted"] is False
    await found["ps-1"].beat()
    assert [event["data"]["muted"] for event in await site.events() if ".alert-" in event["type"]] == [True, False]


async def test_a_drained_inbuilt_server_mutes_its_own_alerts_and_not_its_configuration_servers(site: Site) -> None:
    await agents(site)
    path = f"{VAULT}/process-servers/cs-1"
    assert (await site.client.patch(path, json={"maintenance": {"isEnabled": True}})).status_code == 200
    await site.pass_time(905)
    assert await health_of(site) == ("Critical", "Critical")
    found = await site.walk(f"{VAULT}/configuration-servers/cs-1/alerts")
    assert {alert["resource"]["kind"]: alert["muted"] for alert in found} == {
        "configuration-server": False, "process-server": True,
    }  # fmt: skip


async def test_a_certificate_is_told_60_days_before_its_end_and_again_when_it_has_ended(
    site: Site, database: Database
) -> None:
    await agents(site)
    expires = site.clock.now() + timedelta(days=60, seconds=59)
    async with database.write() as session:
        await session.execute(update(ConfigurationServer).values(certificate_expires_at=expires))
    await site.tick()
    site.manual_clock.advance(58)
    await site.tick()
    assert await told(site, "cs-1", "configuration-server") == []
    site.manual_clock.advance(60)
    await site.tick()
    (alert,) = await site.walk(f"{VAULT}/configuration-servers/cs-1/alerts")
    assert (alert["code"], alert["severity"], alert["value"]) == ("certificate-expiring", "Warning", 60.0)
    assert (alert["threshold"], alert["unit"]) == (60, "days")
    assert await health_of(site) == ("Warning", "Warning")
    assert (await site.read_process_server("cs-1"))["health"] == "Healthy"
    async with database.write() as session:
        await session.execute(update(ConfigurationServer).values(certificate_expires_at=site.clock.now()))
    await site.pass_time(60, step=60)
    (again,) = await site.walk(f"{VAULT}/configuration-servers/cs-1/alerts")
    assert (again["id"], again["severity"], again["threshold"]) == (alert["id"], "Critical", 0)
    async with database.write() as session:
        renewed = site.clock.now() + timedelta(days=1095)
        await session.execute(update(ConfigurationServer).values(certificate_expires_at=renewed))
    for _ in range(3):
        await site.pass_time(60, step=60)
    assert await told(site, "cs-1", "configuration-server") == [
        ("raised", "certificate-expiring", "Warning"),
        ("raised", "certificate-expiring", "Critical"),
        ("cleared", "certificate-expiring", "Critical"),
    ]
    assert await health_of(site) == ("Healthy", "Healthy")


async def test_a_version_out_of_support_is_an_alert_of_the_configuration_server_and_of_each_process_server(
    site: Site,
) -> None:
    await site.vault()
    await site.tick()
    server = await site.configuration_server(agentVersion="9.50.1.1")
    found = {name: Agent(site, await site.process_server(server, name, agentVersion="9.50.1.1"), "9.50.1.1")
             for name in ("ps-1", "ps-2")}  # fmt: skip
    inbuilt = Agent(site, server, "9.50.1.1")
    for agent in (inbuilt, *found.values()):
        await agent.beat()
    await site.pass_time(60, step=60)
    assert await firing(site) == await firing(site, "ps-2") == {"version-not-supported": "Warning"}
    assert await firing(site, "cs-1") == {}, "its configuration server's alert says it"
    assert (await site.read_configuration_server())["healthErrors"][0]["code"] == "version-not-supported"
    (alert,) = await alerts(site)
    assert "9.50.1.1" in alert["message"]
    assert "9.62.7096.1" in str(alert["possibleCauses"])
    await site.pass_time(300, step=60)
    assert len(await alerts(site)) == 1
    inbuilt.version = found["ps-1"].version = "9.62.7096.1"
    for agent in (inbuilt, *found.values()):
        await agent.beat()
    await site.pass_time(60, step=60)
    assert await firing(site) == {}
    assert await firing(site, "ps-2") == {"version-not-supported": "Warning"}
    assert await told(site) == [
        ("raised", "version-not-supported", "Warning"), ("cleared", "version-not-supported", "Warning"),
    ]  # fmt: skip
    answer = await site.client.post("/api/v1/releases", json={"version": "9.70.1.1"})
    assert answer.status_code == 201
    await site.pass_time(60, step=60)
    assert await firing(site) == {"version-not-supported": "Warning"}
    (renewed,) = await alerts(site, "ps-2")
    assert "9.70.1.1" in renewed["message"], "the texts follow the catalogue"


@pytest.mark.no_brake
async def test_what_a_version_without_alerts_left_is_put_right_without_events(site: Site, database: Database) -> None:
    """As after an upgrade of Muster, or beside a replica that is not upgraded yet."""
    found = await agents(site, "ps-1", "ps-2")
    await site.pass_time(905)
    await found["ps-2"].beat()
    async with database.write() as session:
        open_ = (await session.execute(select(Alert).where(Alert.cleared_at.is_(None)))).scalars().all()
        assert len(open_) == 3
        for alert in open_:
            await session.delete(alert)
        host = await session.get_one(Host, host_row_id(found["ps-2"].registered))
        host.version_above_since = site.clock.now()
        await refresh(session, [host])
    before = await site.event_types()
    assert (await site.read_process_server())["health"] == "Critical"
    await site.pass_time(60, step=60)
    assert await firing(site) == {"heartbeat-missing": "Critical"}
    assert await firing(site, "ps-2") == {"version-above-configuration-server": "Warning"}
    assert await health_of(site) == ("Critical", "Critical")
    assert await site.event_types() == before
    async with database.write() as session:
        await session.execute(update(Host).values(version_above_since=None))
        host = await session.get_one(Host, host_row_id(found["ps-1"].registered))
        host.connection_state, host.last_heartbeat_at = "Connected", site.clock.now()
    await site.pass_time(60, step=60)
    assert await firing(site) == await firing(site, "ps-2") == {}
    assert (await site.read_process_server("ps-2"))["health"] == "Healthy"


@pytest.mark.no_brake
async def test_a_removed_servers_alerts_end_and_stay_on_record(site: Site) -> None:
    found = await agents(site, "ps-1", "ps-2")
    for _ in range(31):
        for agent in found.values():
            await agent.beat(cpu=97.0)
        await site.pass_time(30, step=30)
    await site.pass_time(905)
    answer = await site.client.post(f"{VAULT}/process-servers/ps-1/purge", json={})
    assert answer.status_code == 200, answer.text
    past = [alert for alert in await site.walk(f"{VAULT}/alerts") if alert["resource"]["name"] == "ps-1"]
    assert {(alert["code"], alert["state"]) for alert in past} == {
        ("cpu-utilisation", "cleared"), ("heartbeat-missing", "cleared"),
    }  # fmt: skip
    assert ("cleared", "cpu-utilisation", "Critical") not in await told(site), "its purge is the event"
    answer = await site.client.delete(f"{VAULT}/configuration-servers/cs-1", params={"force": "true"})
    assert answer.status_code == 204, answer.text
    everything = await site.walk(f"{VAULT}/alerts")
    assert {alert["state"] for alert in everything} == {"cleared"}
    assert {alert["configurationServer"] for alert in everything} == {None}
    assert (await site.client.get(VAULT)).json()["health"] == "Healthy"


async def test_a_decommissioned_servers_alerts_end(site: Site) -> None:
    servers = await agents(site, "ps-1")
    agent = servers["ps-1"]
    await agent.hold(930, beside=servers["cs-1"], cpu=97.0)
    await site.client.post(f"{VAULT}/process-servers/ps-1/decommission")
    steps = [{"name": name, "status": "done"} for name in ("component", "dependencies", "recovery-services-agent")]
    headers = {"Authorization": f"Bearer {agent.registered['credential']}"}
    answer = await site.client.post("/agent/v1/decommission", json={"steps": steps}, headers=headers)
    assert accepted(answer, 200)["decommissioned"] is True
    found = [alert for alert in await site.walk(f"{VAULT}/alerts") if alert["resource"]["name"] == "ps-1"]
    assert [(alert["code"], alert["state"]) for alert in found] == [("cpu-utilisation", "cleared")]


async def test_a_rebuilt_machine_takes_over_what_fires(site: Site) -> None:
    found = await agents(site, "ps-1")
    await found["ps-1"].hold(930, cpu=97.0)
    await site.pass_time(905)
    before = await alerts(site)
    assert (await site.client.post(f"{VAULT}/process-servers/ps-1/takeover")).status_code == 200
    body = registration(found["cs-1"].registered, "ps-1", hostId="rebuilt", instanceId="rebuilt")
    answer = await site.agent_post("/agent/v1/process-servers/register", body)
    assert answer.status_code == 200, answer.text
    assert await firing(site) == {"cpu-utilisation": "Critical", "heartbeat-missing": "Critical"}
    rebuilt = Agent(site, answer.json())
    await rebuilt.beat(cpu=97.0)
    assert await firing(site) == {"cpu-utilisation": "Critical"}
    await rebuilt.beat()
    assert await firing(site) == {}
    assert [alert["id"] for alert in await alerts(site)] == [alert["id"] for alert in before]
    assert await told(site) == [
        ("raised", "cpu-utilisation", "Critical"), ("cleared", "cpu-utilisation", "Critical"),
    ]  # fmt: skip
    assert (await site.read_process_server())["health"] == "Healthy"


async def test_past_alerts_are_kept_as_long_as_events(site: Site, database: Database) -> None:
    found = await agents(site, "ps-1")
    agent = found["ps-1"]
    await agent.hold(930, beside=found["cs-1"], cpu=97.0, memory=90.0)
    await agent.beat(memory=90.0)
    assert await count(database, Alert) == 2
    site.manual_clock.advance(90 * DAY)
    await site.app.state.housekeeping.tick()
    assert await count(database, Alert) == 2
    site.manual_clock.advance(1)
    await site.app.state.housekeeping.tick()
    assert [(alert["code"], alert["state"]) for alert in await alerts(site)] == [("memory-usage", "firing")]
