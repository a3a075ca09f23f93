"""Alerts on the command line: lists, rules, changes of a rule."""

import json
from typing import Any

from tests.cli.fake_api import FakeApi, Muster, process_server

VAULT = "/api/v1/vaults/prod"
ALERTS = f"{VAULT}/alerts"
POLICY = f"{VAULT}/health-policy"


def alert(code: str = "cpu-utilisation", **members: Any) -> dict[str, Any]:
    """An alert as the API shows it."""
    return {
        "id": f"id-of-{code}",
        "resource": {"kind": "process-server", "name": "ps-ams-01", "id": "id"},
        "configurationServer": "cs-ams-01",
        "state": "firing",
        "code": code,
        "severity": "Critical",
        "since": "2026-11-24T11:30:00.000Z",
        "raisedAt": "2026-11-24T11:45:00.000Z",
        "clearedAt": None,
        "value": 97.5,
        "threshold": 95.0,
        "unit": "percent",
        "muted": False,
        "message": "CPU utilisation of process server ps-ams-01 is 97.5 %, above 95 %",
        "possibleCauses": [],
        "recommendedAction": "",
        **members,
    }


def rule(code: str = "cpu-utilisation", **members: Any) -> dict[str, Any]:
    """A rule as the API shows it."""
    return {
        "code": code,
        "unit": "percent",
        "isEnabled": True,
        "windowSeconds": 900.0,
        "warningThreshold": 80.0,
        "criticalThreshold": 95.0,
        "hysteresis": 5.0,
        "overrides": [],
        **members,
    }


def test_a_vaults_alerts_with_units_and_ages(api: FakeApi, muster: Muster) -> None:
    past = alert(
        "cache-free-space",
        unit="percentFree",
        value=18.0,
        threshold=25.0,
        clearedAt="2026-11-24T11:58:00.000Z",
        resource={"kind": "configuration-server", "name": "cs-ams-01", "id": "x"},
        muted=True,
    )
    api.pages(ALERTS, [alert(), past])
    header, first, second = muster("alert", "list").stdout.splitlines()
    assert header.split()[:3] == ["SEVERITY", "ALERT", "SERVER"]
    for word in ("Critical", "cpu-utilisation", "ps-ams-01", "97.5 %", "95 %", "30 min ago", "firing", "no"):
        assert word in first
    for word in ("18 % free", "2 min ago", "cs-ams-01 (configuration server)", "yes"):
        assert word in second
    assert json.loads(muster("alerts", "list", "--json").stdout) == [alert(), past]


def test_filters_go_to_the_api(api: FakeApi, muster: Muster) -> None:
    api.pages(ALERTS, [])
    result = muster(
        *("alert", "list", "--state", "Firing", "--severity", "critical", "--code", "clock-skew"),
        *("--code", "cpu-utilisation", "--limit", "3"),
    )
    [request] = api.asked("GET", ALERTS)
    assert request.url.params.get_list("code") == ["clock-skew", "cpu-utilisation"]
    assert {key: request.url.params[key] for key in ("state", "severity", "limit")} == {
        "state": "firing", "severity": "Critical", "limit": "3",
    }  # fmt: skip
    assert (result.stdout, "No alert matches" in result.stderr) == ("", True)
    assert "No alert yet" in muster("alert", "list").stderr


def test_the_alerts_of_a_server(api: FakeApi, muster: Muster) -> None:
    for path in (
        "process-servers/ps-1/alerts",
        "configuration-servers/cs-1/process-servers/ps-1/alerts",
        "configuration-servers/cs-1/alerts",
    ):
        api.pages(f"{VAULT}/{path}", [alert()])
    for words in (
        ("process-server", "alerts", "ps-1"),
        ("ps", "alerts", "ps-1", "--cs", "cs-1"),
        ("configuration-server", "alerts", "cs-1", "--state", "firing"),
    ):
        assert "cpu-utilisation" in muster(*words).stdout
    paths = [request.url.path.removeprefix(f"{VAULT}/") for request in api.asked("GET") if "alerts" in request.url.path]
    assert paths == [
        "process-servers/ps-1/alerts",
        "configuration-servers/cs-1/process-servers/ps-1/alerts",
        "configuration-servers/cs-1/alerts",
    ]


def test_a_muted_alert_is_shown_as_such(api: FakeApi, muster: Muster) -> None:
    errors = [alert(muted=True), alert("memory-usage")]
    api.answer("GET", f"{VAULT}/process-servers/ps-1", process_server("ps-1", healthErrors=errors))
    output = muster("ps", "show", "ps-1").stdout
    assert output.count("Muted") == 1


def test_the_rules_of_a_vault(api: FakeApi, muster: Muster) -> None:
    rules = [rule(overrides=["warningThreshold"]), rule("heartbeat-missing", windowSeconds=None, unit="seconds")]
    api.answer("GET", POLICY, {"vault": "prod", "windowSeconds": 900.0, "rules": rules})
    output = muster("alert", "rules").stdout
    for word in ("cpu-utilisation", "80 %", "95 %", "900 s", "warningThreshold", "heartbeat-missing"):
        assert word in output
    assert json.loads(muster("alert", "rules", "--json").stdout)["rules"] == rules


def test_a_rule_is_tuned_as_it_was_seen(api: FakeApi, muster: Muster) -> None:
    policy = {"vault": "prod", "windowSeconds": 900.0, "rules": [rule(warningThreshold=85.0), rule("memory-usage")]}
    api.answer("GET", POLICY, policy, headers={"ETag": '"1"'})
    api.answer("PATCH", POLICY, policy)
    result = muster("alert", "tune", "cpu-utilisation", "--warning", "85", "--window", "600", "--disable")
    assert "85 %" in result.stdout
    assert "memory-usage" not in result.stdout
    [request] = api.asked("PATCH")
    assert request.headers["If-Match"] == '"1"'
    assert json.loads(request.content) == {
        "rules": {"cpu-utilisation": {"warningThreshold": 85.0, "windowSeconds": 600.0, "isEnabled": False}}
    }
    muster("alert", "tune", "cpu-utilisation", "--default")
    assert json.loads(api.asked("PATCH")[-1].content) == {"rules": {"cpu-utilisation": None}}


def test_tuning_wants_something_to_change(api: FakeApi, muster: Muster) -> None:
    for words in ((), ("--default", "--warning", "5"), ("--warning", "much")):
        result = muster("alert", "tune", "cpu-utilisation", *words)
        assert result.exit_code == 2, words
    assert muster("alert", "tune", "cpu", "--warning", "5").exit_code == 2
    assert api.asked("PATCH") == []
