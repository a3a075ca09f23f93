"""The rules of domain section 4 as the API shows them: over dips, missed heartbeats, outages and what is missing."""

from pathlib import Path

import pytest

from app.core.clock import ManualClock
from app.main import _tasks
from tests.support.health import REQUIRED, VAULT, Agent, agents, alerts, firing, told
from tests.support.muster import Site, new_site

RUNNING = dict.fromkeys(REQUIRED, "Running")


async def test_irregular_and_missed_heartbeats(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    for pause in (7, 173, 20, 400, 30, 150, 100):
        await agent.beat(cpu=90.0)
        await site.pass_time(pause)
    await site.pass_time(900 - 880 - 1)
    assert await firing(site) == {}
    site.manual_clock.advance(1)
    await site.tick()
    assert await firing(site) == {"cpu-utilisation": "Warning"}


@pytest.mark.parametrize("dip", [30, 450, 870])
async def test_a_dip_begins_anew(site: Site, dip: int) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(dip, cpu=90.0)
    await agent.hold(30, cpu=80.0)
    await agent.hold(899, cpu=90.0)
    assert await told(site) == []
    site.manual_clock.advance(1)
    await site.tick()
    assert await firing(site) == {"cpu-utilisation": "Warning"}


async def test_nothing_fires_on_evidence_that_is_too_old_and_the_next_heartbeat_is_waited_for(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(690, cpu=90.0)
    site.manual_clock.advance(29)
    await agent.beat(cpu=90.0)
    await site.pass_time(900 - 719 + 60)
    assert await firing(site) == {}, "heard last 181 s before it would have been due"
    await agent.beat(cpu=90.0)
    await site.tick()
    assert await firing(site) == {"cpu-utilisation": "Warning"}


async def test_evidence_as_old_as_the_longest_interval_is_enough(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(720, every=180, cpu=90.0)
    await agent.beat(cpu=90.0)
    await site.pass_time(180)
    assert await firing(site) == {"cpu-utilisation": "Warning"}


async def test_an_outage_of_the_control_plane_below_the_timeout_breaks_nothing(
    site: Site, database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(300, cpu=90.0)
    clock.advance(599)
    await site.app.state.leadership.release()
    # A new process on the same database: nothing of the old one's memory is left.
    async with new_site(database_url, clock, tmp_path) as restarted:
        await restarted.tick()
        await agent.beat(on=restarted, cpu=90.0)
        await restarted.tick()
        assert await firing(restarted) == {}
        clock.advance(1)
        await restarted.tick()
        assert await firing(restarted) == {"cpu-utilisation": "Warning"}


async def test_an_outage_that_ends_after_the_window_fires_with_the_first_heartbeat(
    site: Site, database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(600, cpu=90.0)
    clock.advance(400)
    await site.app.state.leadership.release()
    async with new_site(database_url, clock, tmp_path) as restarted:
        await restarted.tick()
        assert await firing(restarted) == {}
        await agent.beat(on=restarted, cpu=90.0)
        await restarted.tick()
        assert await firing(restarted) == {"cpu-utilisation": "Warning"}
        assert len(await told(restarted)) == 1


async def test_a_gap_of_more_than_the_timeout_begins_anew(site: Site) -> None:
    """The control plane was down for longer than the timeout; nobody is called disconnected for it."""
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(600, cpu=90.0)
    site.manual_clock.advance(1000)
    await agent.beat(cpu=90.0)
    await site.tick()
    assert (await site.read_process_server())["connectionState"] == "Connected"
    assert await firing(site) == {}
    await agent.hold(899, cpu=90.0)
    assert await firing(site) == {}
    site.manual_clock.advance(1)
    await site.tick()
    assert await firing(site) == {"cpu-utilisation": "Warning"}


async def test_a_clock_that_was_set_back_does_not_put_alerts_off(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(300, cpu=90.0)
    site.manual_clock.advance(-86_400)
    await site.tick()
    await agent.hold(899, cpu=90.0)
    assert await firing(site) == {}
    site.manual_clock.advance(1)
    await site.tick()
    assert await firing(site) == {"cpu-utilisation": "Warning"}


async def test_the_monitors_task_raises_what_is_due(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(900, ticks=False, cpu=90.0)
    (watch,) = [task for task in _tasks(site.app.state) if task.name == "monitor"]
    assert await firing(site) == {}
    await watch.run_once()
    assert watch.last_error is None
    assert await firing(site) == {"cpu-utilisation": "Warning"}


async def test_a_value_that_dances_on_the_threshold_does_not_flap(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    for _ in range(20):
        await agent.hold(30, cpu=81.0)
        await agent.hold(30, cpu=80.0)
    assert await told(site) == []
    await agent.hold(930, cpu=81.0)
    for _ in range(20):
        await agent.hold(30, cpu=79.0)
        await agent.hold(30, cpu=81.0)
    assert await told(site) == [("raised", "cpu-utilisation", "Warning")]


async def test_it_ends_at_the_clear_level(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(930, cpu=81.0, free=29.0)
    await agent.beat(cpu=75.5, free=34.5)
    assert await firing(site) == {"cpu-utilisation": "Warning", "cache-free-space": "Warning"}
    await agent.beat(cpu=75.0, free=34.5)
    assert await firing(site) == {"cache-free-space": "Warning"}
    await agent.beat(cpu=75.0, free=35.0)
    assert await firing(site) == {}


async def test_another_severity_keeps_the_alert_and_is_an_event(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    since = site.clock.now()
    await agent.hold(930, cpu=85.0)
    (warning,) = await alerts(site)
    await agent.hold(930, cpu=97.0)
    (critical,) = await alerts(site)
    assert (warning["severity"], critical["severity"]) == ("Warning", "Critical")
    assert (critical["id"], critical["since"]) == (warning["id"], warning["since"])
    assert critical["since"] == since.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert (critical["threshold"], critical["value"], critical["unit"]) == (95, 97.0, "percent")
    assert (await site.read_process_server())["health"] == "Critical"
    await agent.beat(cpu=85.0)
    (again,) = await alerts(site)
    assert (again["id"], again["severity"], again["threshold"]) == (warning["id"], "Warning", 80)
    assert await told(site) == [
        ("raised", "cpu-utilisation", "Warning"),
        ("raised", "cpu-utilisation", "Critical"),
        ("raised", "cpu-utilisation", "Warning"),
    ]
    previous = [event["data"]["previousSeverity"] for event in await site.events() if ".alert-raised" in event["type"]]
    assert previous == [None, "Warning", "Critical"]


async def test_unknown_readings_end_what_is_pending_and_leave_what_fires(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(600, cpu=90.0, memory=90.0)
    await agent.beat(cpu=None, memory=90.0)
    await agent.hold(330, cpu=90.0, memory=90.0)
    assert await firing(site) == {"memory-usage": "Warning"}
    await agent.beat(cpu=None, memory=None)
    (error,) = (await site.read_process_server())["healthErrors"]
    assert (error["code"], error["value"]) == ("memory-usage", 90.0), "the last value that is known"
    await agent.beat(memory=75.0)
    assert await firing(site) == {}


async def test_an_agent_that_does_not_tell_its_clock_has_none(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(600, skew=400)
    await agent.beat()
    await agent.hold(330, skew=400)
    assert await firing(site) == {}
    await agent.hold(600, skew=400)
    await agent.beat()
    assert await firing(site) == {"clock-skew": "Warning"}
    await agent.beat(skew=-240.0)
    assert await firing(site) == {}


async def test_a_heartbeat_without_telemetry_is_no_news(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(930, cpu=90.0)
    await agent.beat(more={"telemetry": None})
    assert await firing(site) == {"cpu-utilisation": "Warning"}


async def test_the_value_shown_is_the_present_one(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(930, cpu=85.0)
    await agent.beat(cpu=88.0)
    (error,) = (await site.read_process_server())["healthErrors"]
    assert error["value"] == 88.0
    (alert,) = await alerts(site)
    assert (alert["value"], alert["state"], alert["clearedAt"]) == (88.0, "firing", None)
    assert "85 %" in alert["message"]


async def test_pending_upload_without_throughput_has_no_number(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    load = {"telemetry": {"throughputInBytes": 0, "throughputUploadPendingDataInBytes": 1}}
    await agent.hold(930, more=load)
    (alert,) = await alerts(site)
    assert (alert["code"], alert["severity"], alert["value"]) == ("pending-upload", "Critical", None)


async def test_services_are_named_and_counted(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    stopped = {**RUNNING, "tmansvc": "Stopped", "obengine": "StopPending"}
    await agent.hold(930, services=stopped)
    (alert,) = await alerts(site)
    assert (alert["code"], alert["value"], alert["threshold"]) == ("services-stopped", 2, 0)
    for name in ("tmansvc", "obengine"):
        assert name in alert["message"]
    await agent.hold(30, services={**RUNNING, "tmansvc": "Stopped"})
    (alert,) = await alerts(site)
    assert (alert["value"], alert["state"]) == (1, "firing")
    assert "obengine" not in alert["message"]
    await agent.beat(services=RUNNING)
    assert await firing(site) == {}
    assert await told(site) == [
        ("raised", "services-stopped", "Warning"), ("cleared", "services-stopped", "Warning"),
    ]  # fmt: skip


async def test_one_service_after_another_is_not_one_service_for_15_minutes(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    for name in ("tmansvc", "obengine", "svagents"):
        await agent.hold(600, services={**RUNNING, name: "Stopped"})
    assert await firing(site) == {}


async def test_services_that_are_not_reported_are_unknown(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(1000, services={"nginx": "Stopped", "ProcessServer": "Running"})
    assert await firing(site) == {}


async def test_a_failback_server_needs_fewer_services(site: Site) -> None:
    agent = (await agents(site, "ps-1", kind="failback"))["ps-1"]
    await agent.hold(930, services={**RUNNING, "tmansvc": "Stopped", "LogUpload": "Stopped"})
    (alert,) = await alerts(site)
    assert alert["value"] == 1
    assert "LogUpload" in alert["message"]
    assert "tmansvc" not in alert["message"]


async def test_silence_drops_what_is_pending_and_keeps_what_fires(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(930, cpu=85.0)
    await agent.hold(600, cpu=85.0, memory=85.0)
    await site.pass_time(925)
    assert await firing(site) == {"cpu-utilisation": "Warning", "heartbeat-missing": "Critical"}
    assert (await site.read_process_server())["health"] == "Critical"
    await agent.beat(cpu=85.0, memory=85.0)
    assert await firing(site) == {"cpu-utilisation": "Warning"}
    assert (await site.read_process_server())["health"] == "Warning"
    await agent.hold(899, cpu=85.0, memory=85.0)
    assert await firing(site) == {"cpu-utilisation": "Warning"}
    site.manual_clock.advance(1)
    await site.tick()
    assert await firing(site) == {"cpu-utilisation": "Warning", "memory-usage": "Warning"}


async def test_a_missing_heartbeat_is_an_alert_from_the_timeout_to_the_return(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    heard = site.clock.now()
    await site.pass_time(899)
    assert await firing(site) == {}
    await site.pass_time(1)
    (alert,) = await alerts(site)
    assert (alert["code"], alert["severity"], alert["state"]) == ("heartbeat-missing", "Critical", "firing")
    assert alert["since"] == heard.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert (alert["value"], alert["threshold"], alert["unit"]) == (900, 900, "seconds")
    await site.pass_time(100)
    assert (await alerts(site))[0]["value"] == 1000
    await agent.beat()
    (alert,) = await alerts(site)
    assert (alert["state"], alert["value"]) == ("cleared", 900)
    types = [event["type"] for event in await site.events() if event["resource"]["name"] == "ps-1"]
    assert types.count("process-server.disconnected") == 1
    assert not [kind for kind in types if ".alert-" in kind]


async def test_a_server_that_was_never_heard_of_has_the_alert_and_no_past_one(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    agent = Agent(site, await site.process_server(server))
    (error,) = (await site.read_process_server())["healthErrors"]
    assert (error["code"], error["since"], error["value"]) == ("heartbeat-missing", None, None)
    assert await firing(site) == {"heartbeat-missing": "Critical"}
    await agent.beat()
    assert await alerts(site) == []
    assert (await site.read_process_server())["health"] == "Healthy"


async def test_telemetry_of_the_configuration_servers_machine_is_its_inbuilt_process_servers(site: Site) -> None:
    agent = (await agents(site))["cs-1"]
    await agent.hold(930, cpu=96.0)
    assert await firing(site, "cs-1") == {"cpu-utilisation": "Critical"}
    server = await site.read_configuration_server()
    assert [error["code"] for error in server["healthErrors"]] == ["cpu-utilisation"]
    assert server["health"] == "Critical"
    found = await site.walk(f"{VAULT}/configuration-servers/cs-1/alerts")
    assert [(alert["resource"]["kind"], alert["code"]) for alert in found] == [("process-server", "cpu-utilisation")]
