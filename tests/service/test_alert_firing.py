"""Each rule of domain section 4 fires when its condition has held for 15:00, not at 14:59 and not at its threshold."""

from typing import Any, NamedTuple

import pytest

from app.core.wire import rfc3339
from tests.support.health import REQUIRED, agents, alerts, firing, told
from tests.support.muster import Site

RUNNING = dict.fromkeys(REQUIRED, "Running")


class Case(NamedTuple):
    """A load that breaks one rule, and what its alert says."""

    code: str
    severity: str
    load: dict[str, Any]
    value: float
    threshold: float


CASES = (
    Case("cpu-utilisation", "Warning", {"cpu": 80.5}, 80.5, 80),
    Case("cpu-utilisation", "Critical", {"cpu": 95.5}, 95.5, 95),
    Case("memory-usage", "Warning", {"memory": 80.5}, 80.5, 80),
    Case("memory-usage", "Critical", {"memory": 95.5}, 95.5, 95),
    Case("cache-free-space", "Warning", {"free": 29.5}, 29.5, 30),
    Case("cache-free-space", "Critical", {"free": 24.5}, 24.5, 25),
    Case("replication-throttled", "Warning", {"free": 19.5}, 19.5, 20),
    Case("pending-upload", "Warning", {"minutes": 31}, 31, 30),
    Case("pending-upload", "Critical", {"minutes": 46}, 46, 45),
    Case("services-stopped", "Warning", {"services": {**RUNNING, "tmansvc": "Stopped"}}, 1, 0),
    Case("clock-skew", "Warning", {"skew": 300.5}, 300.5, 300),
    Case("clock-skew", "Warning", {"skew": -4000.0}, 4000, 300),
)


@pytest.mark.parametrize("every", [180, 10])
async def test_it_fires_at_15_00_and_not_at_14_59(site: Site, every: int, subtests: pytest.Subtests) -> None:
    # At the shortest interval one rule of each kind: a usage, a rest, a state.
    cases = dict(enumerate(CASES if every == 180 else [CASES[0], CASES[5], CASES[9]], 1))
    servers = await agents(site, *(f"ps-{number}" for number in cases))
    site.manual_clock.advance(5)
    await site.tick()
    since = rfc3339(site.clock.now())
    for passed in range(0, 900, every):
        for number, case in cases.items():
            await servers[f"ps-{number}"].beat(**case.load)
        site.manual_clock.advance(min(every, 899 - passed))
        await site.look(min(every, 899 - passed), in_earnest=passed + every >= 899)
    for number in cases:
        assert await firing(site, f"ps-{number}") == {}
        assert (await site.read_process_server(f"ps-{number}"))["health"] == "Healthy"
    site.manual_clock.advance(1)
    await site.tick()
    for number, case in cases.items():
        with subtests.test(case=case):
            await has_fired(site, f"ps-{number}", case, since)
    for _ in range(3):
        await site.tick()
    site.manual_clock.advance(1)
    for number, case in cases.items():
        entries = [entry for entry in await told(site, f"ps-{number}") if entry[1] == case.code]
        assert entries == [("raised", case.code, case.severity)]
        await servers[f"ps-{number}"].beat(services=RUNNING, skew=0.0)
    for number, case in cases.items():
        with subtests.test(case=case):
            await has_cleared(site, f"ps-{number}", case)


async def has_fired(site: Site, name: str, case: Case, since: str) -> None:
    """An alert, the server's health and one event say that a case's condition has held since then."""
    found = await firing(site, name)
    assert found[case.code] == case.severity
    view = await site.read_process_server(name)
    assert view["health"] == ("Critical" if "Critical" in found.values() else "Warning")
    error = next(error for error in view["healthErrors"] if error["code"] == case.code)
    assert (error["value"], error["threshold"], error["muted"]) == (case.value, case.threshold, False)
    assert error["since"] == since
    assert error["possibleCauses"]
    assert error["recommendedAction"]
    (event,) = [event for event in await site.events(resource=name) if event["data"].get("code") == case.code]
    assert (event["type"], event["actor"]) == ("process-server.alert-raised", "monitor")
    assert event["severity"] == case.severity
    assert event["resource"]["name"] == name
    assert event["message"]
    data = {key: error[key] for key in ("code", "severity", "since", "value", "threshold")}
    assert event["data"] == {**event["data"], **data, "muted": False, "previousSeverity": None}


async def has_cleared(site: Site, name: str, case: Case) -> None:
    """Nothing fires on a server any more, and the alert of its case is on record."""
    assert await firing(site, name) == {}
    assert (await site.read_process_server(name))["health"] == "Healthy"
    assert [entry[0] for entry in await told(site, name) if entry[1] == case.code] == ["raised", "cleared"]
    (past,) = [alert for alert in await alerts(site, name) if alert["code"] == case.code]
    assert (past["state"], past["value"], past["severity"]) == ("cleared", case.value, case.severity)
    assert past["raisedAt"] < past["clearedAt"]


@pytest.mark.parametrize("ahead", [300.0, -300.0])
async def test_at_the_threshold_nothing_fires(site: Site, ahead: float) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(1200, every=60, cpu=80.0, memory=80.0, free=30.0, minutes=30, services=RUNNING, skew=ahead)
    assert await firing(site) == {}
    assert await told(site) == []
