"""A vault's health policy: what it may change, what makes no sense, and that it holds at once."""

from typing import Any

import pytest

from app.health.rules import RULES
from app.vocabulary import AlertCode
from tests.support.health import VAULT, agents, alerts, firing, told
from tests.support.muster import Site, pointers, problem

POLICY = f"{VAULT}/health-policy"


async def change(site: Site, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    """A change that must be taken."""
    answer = await site.client.patch(POLICY, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def rule(policy: dict[str, Any], code: str) -> dict[str, Any]:
    """One rule of a policy."""
    (found,) = [entry for entry in policy["rules"] if entry["code"] == code]
    return dict(found)


async def test_without_a_policy_the_defaults_hold(site: Site) -> None:
    await site.vault()
    policy = (await site.client.get(POLICY)).json()
    assert (policy["vault"], policy["windowSeconds"], policy["updatedAt"]) == ("contoso", 900, None)
    assert [entry["code"] for entry in policy["rules"]] == [code.value for code in RULES]
    assert rule(policy, "cache-free-space") == {
        "code": "cache-free-space",
        "unit": "percentFree",
        "isEnabled": True,
        "windowSeconds": 900,
        "warningThreshold": 30,
        "criticalThreshold": 25,
        "hysteresis": 5,
        "overrides": [],
    }
    assert rule(policy, "heartbeat-missing")["windowSeconds"] is None


async def test_changes_are_merged_and_null_takes_back(site: Site) -> None:
    await site.vault()
    policy = await change(site, {"windowSeconds": 600, "rules": {"cpu-utilisation": {"warningThreshold": 85}}})
    assert (policy["windowSeconds"], rule(policy, "memory-usage")["windowSeconds"]) == (600, 600)
    policy = await change(
        site, {"rules": {"cpu-utilisation": {"windowSeconds": 60}, "clock-skew": {"isEnabled": False}}}
    )
    cpu = rule(policy, "cpu-utilisation")
    assert (cpu["warningThreshold"], cpu["windowSeconds"]) == (85, 60)
    assert cpu["overrides"] == ["windowSeconds", "warningThreshold"]
    assert rule(policy, "clock-skew")["isEnabled"] is False
    assert (await site.client.get(POLICY)).json() == policy
    policy = await change(site, {"rules": {"cpu-utilisation": {"warningThreshold": None}}})
    assert rule(policy, "cpu-utilisation")["overrides"] == ["windowSeconds"]
    policy = await change(site, {"windowSeconds": None, "rules": {"cpu-utilisation": None, "clock-skew": None}})
    assert [entry["overrides"] for entry in policy["rules"]] == [[]] * len(RULES)
    assert policy["windowSeconds"] == 900
    events = [event for event in await site.events() if event["type"] == "vault.health-policy-changed"]
    assert len(events) == 4
    assert (events[0]["actor"], events[0]["resource"]["name"]) == ("token:admin", "contoso")
    assert events[0]["data"] == {"windowSeconds": 600, "rules": {"cpu-utilisation": {"warningThreshold": 85}}}
    assert events[-1]["data"] == {"windowSeconds": None, "rules": {}}


async def test_a_change_that_changes_nothing_is_no_event(site: Site) -> None:
    await site.vault()
    first = await site.client.get(POLICY)
    await change(site, {})
    await change(site, {"windowSeconds": None, "rules": {"cpu-utilisation": {"warningThreshold": None}}})
    assert (await site.client.get(POLICY)).headers["etag"] == first.headers["etag"]
    assert "vault.health-policy-changed" not in await site.event_types()


async def test_a_change_applies_to_the_revision_its_author_saw(site: Site) -> None:
    await site.vault()
    seen = (await site.client.get(POLICY)).headers["etag"]
    await change(site, {"windowSeconds": 600}, **{"If-Match": seen})
    answer = await site.client.patch(POLICY, json={"windowSeconds": 300}, headers={"If-Match": seen})
    problem(answer, 412, "precondition-failed")
    now = (await site.client.get(POLICY)).headers["etag"]
    await change(site, {"windowSeconds": 300}, **{"If-Match": now})


NONSENSE: list[tuple[dict[str, Any], list[str]]] = [
    ({"windowSeconds": 0}, ["#/windowSeconds"]),
    ({"windowSeconds": -1}, ["#/windowSeconds"]),
    ({"windowSeconds": 86_401}, ["#/windowSeconds"]),
    ({"windowSeconds": "900"}, ["#/windowSeconds"]),
    ({"rules": {"cpu-utilisation": {"warningThreshold": 95}}}, ["#/rules/cpu-utilisation/warningThreshold"]),
    ({"rules": {"cpu-utilisation": {"criticalThreshold": 80}}}, ["#/rules/cpu-utilisation/warningThreshold"]),
    ({"rules": {"cpu-utilisation": {"criticalThreshold": 100}}}, ["#/rules/cpu-utilisation/criticalThreshold"]),
    ({"rules": {"cpu-utilisation": {"warningThreshold": 0}}}, ["#/rules/cpu-utilisation/warningThreshold"]),
    ({"rules": {"cpu-utilisation": {"hysteresis": 81}}}, ["#/rules/cpu-utilisation/hysteresis"]),
    ({"rules": {"cpu-utilisation": {"hysteresis": -1}}}, ["#/rules/cpu-utilisation/hysteresis"]),
    ({"rules": {"cpu-utilisation": {"windowSeconds": 0}}}, ["#/rules/cpu-utilisation/windowSeconds"]),
    ({"rules": {"cache-free-space": {"warningThreshold": 20}}}, ["#/rules/cache-free-space/warningThreshold"]),
    ({"rules": {"cache-free-space": {"hysteresis": 71}}}, ["#/rules/cache-free-space/hysteresis"]),
    ({"rules": {"clock-skew": {"criticalThreshold": 600}}}, ["#/rules/clock-skew/criticalThreshold"]),
    ({"rules": {"services-stopped": {"warningThreshold": 1}}}, ["#/rules/services-stopped/warningThreshold"]),
    ({"rules": {"heartbeat-missing": {"isEnabled": False}}}, ["#/rules/heartbeat-missing/isEnabled"]),
    (
        {"windowSeconds": 0, "rules": {"memory-usage": {"warningThreshold": 0, "criticalThreshold": 101}}},
        ["#/windowSeconds", "#/rules/memory-usage/warningThreshold", "#/rules/memory-usage/criticalThreshold"],
    ),
    ({"rules": {"cpu-utilisation": {"isEnabled": 1}}}, ["#/rules/cpu-utilisation/isEnabled"]),
    ({"rules": {"cpu-utilisation": {"colour": "red"}}}, ["#/rules/cpu-utilisation/colour"]),
    ({"colour": "red"}, ["#/colour"]),
]


async def test_what_makes_no_sense_is_refused_and_named(site: Site, subtests: pytest.Subtests) -> None:
    await site.vault()
    for body, found in NONSENSE:
        with subtests.test(body=body, found=found):
            answer = await site.client.patch(POLICY, json=body)
            assert pointers(answer) == found
            assert (await site.client.get(POLICY)).json()["updatedAt"] is None


async def test_an_unknown_code_is_refused(site: Site) -> None:
    await site.vault()
    answer = await site.client.patch(POLICY, json={"rules": {"cpu": {"isEnabled": False}}})
    (pointer,) = pointers(answer)
    assert pointer.startswith("#/rules/cpu")


async def test_edges_that_make_sense_are_taken(site: Site) -> None:
    await site.vault()
    await change(
        site,
        {
            "windowSeconds": 86_400,
            "rules": {
                "cpu-utilisation": {"warningThreshold": 94.9, "criticalThreshold": 99.9, "hysteresis": 94.9},
                "cache-free-space": {"warningThreshold": 50, "criticalThreshold": 49, "hysteresis": 50},
                "pending-upload": {"warningThreshold": 5000, "criticalThreshold": 10_000, "windowSeconds": 1},
                "certificate-expiring": {"warningThreshold": 120},
                "version-not-supported": {"isEnabled": False},
            },
        },
    )


async def test_a_shorter_window_counts_what_was_held_already(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(400, cpu=90.0)
    await change(site, {"windowSeconds": 300})
    assert await firing(site) == {}
    await agent.beat(cpu=90.0)
    assert await firing(site) == {"cpu-utilisation": "Warning"}


async def test_a_longer_window_is_waited_for(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(890, cpu=90.0)
    await change(site, {"rules": {"cpu-utilisation": {"windowSeconds": 1200}}})
    await site.pass_time(20)
    assert await firing(site) == {}, "until its next heartbeat nobody is judged by the old rules"
    await agent.hold(1199 - 910, cpu=90.0)
    assert await firing(site) == {}
    site.manual_clock.advance(1)
    await site.tick()
    assert await firing(site) == {"cpu-utilisation": "Warning"}


async def test_other_thresholds_hold_from_the_next_heartbeat_on(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(930, cpu=85.0, memory=75.0)
    assert await firing(site) == {"cpu-utilisation": "Warning"}
    await change(
        site, {"rules": {"cpu-utilisation": {"warningThreshold": 92}, "memory-usage": {"warningThreshold": 70}}}
    )
    await agent.hold(900, cpu=85.0, memory=75.0)
    assert await firing(site) == {"memory-usage": "Warning"}
    assert (await alerts(site, code="memory-usage"))[0]["threshold"] == 70
    assert await told(site) == [
        ("raised", "cpu-utilisation", "Warning"),
        ("cleared", "cpu-utilisation", "Warning"),
        ("raised", "memory-usage", "Warning"),
    ]


async def test_a_disabled_rule_ends_its_alerts_at_once_and_comes_back(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(930, cpu=97.0, memory=85.0)
    await change(site, {"rules": {"cpu-utilisation": {"isEnabled": False}}})
    assert await firing(site) == {"memory-usage": "Warning"}
    assert (await site.read_process_server())["health"] == "Warning"
    ended = [event for event in await site.events() if event["type"] == "process-server.alert-cleared"]
    assert [event["data"]["code"] for event in ended] == ["cpu-utilisation"]
    assert "policy" in ended[0]["message"]
    await agent.hold(1000, cpu=97.0, memory=85.0)
    assert await firing(site) == {"memory-usage": "Warning"}
    await change(site, {"rules": {"cpu-utilisation": {"isEnabled": None}}})
    await agent.hold(899, cpu=97.0, memory=85.0)
    assert await firing(site) == {"memory-usage": "Warning"}
    site.manual_clock.advance(1)
    await site.tick()
    assert await firing(site) == {"memory-usage": "Warning", "cpu-utilisation": "Critical"}


async def test_a_rule_that_is_disabled_and_enabled_before_the_next_heartbeat_begins_anew(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await agent.hold(930, cpu=97.0)
    for is_enabled in (False, True):
        await change(site, {"rules": {"cpu-utilisation": {"isEnabled": is_enabled}}})
    await agent.hold(899, cpu=97.0)
    assert await firing(site) == {}
    site.manual_clock.advance(1)
    await site.tick()
    assert await firing(site) == {"cpu-utilisation": "Critical"}


async def test_another_vault_is_left_alone(site: Site) -> None:
    agent = (await agents(site, "ps-1"))["ps-1"]
    await site.vault("other")
    answer = await site.client.patch("/api/v1/vaults/other/health-policy", json={"windowSeconds": 60})
    assert answer.status_code == 200
    await agent.hold(899, cpu=90.0)
    assert await firing(site) == {}


async def test_a_disabled_periodic_rule_ends_and_comes_back(site: Site) -> None:
    await site.vault()
    await site.tick()
    server = await site.configuration_server(agentVersion="9.50.1.1")
    await site.beat(server, 1, agentVersion="9.50.1.1")
    await site.pass_time(60, step=60)
    code = AlertCode.VERSION_NOT_SUPPORTED.value

    async def shown() -> list[str]:
        return [error["code"] for error in (await site.read_configuration_server())["healthErrors"]]

    assert await shown() == [code]
    await change(site, {"rules": {code: {"isEnabled": False}}})
    assert await shown() == []
    await site.pass_time(120, step=60)
    assert await shown() == []
    await change(site, {"rules": {code: None}})
    await site.pass_time(60, step=60)
    assert await shown() == [code]


async def test_a_vault_is_deleted_with_its_policy(site: Site) -> None:
    await site.vault()
    await change(site, {"windowSeconds": 60})
    assert (await site.client.delete(VAULT)).status_code == 204
    await site.vault()
    assert (await site.client.get(POLICY)).json()["windowSeconds"] == 900


async def test_readers_may_not_change_it(site: Site) -> None:
    await site.vault()
    reader = await site.caller("reader")
    assert (await reader.get(POLICY)).status_code == 200
    problem(await reader.patch(POLICY, json={"windowSeconds": 60}), 403, "forbidden")
