"""The release catalogue, the comparison of versions and the upgrade plan on the command line."""

import json
from typing import Any

import httpx

from tests.cli.fake_api import FakeApi, Muster

RELEASES = "/api/v1/releases"
PLAN = "/api/v1/vaults/prod/configuration-servers/cs-1/upgrade-plan"
OLD, NEWEST = "9.57.6920.1", "9.62.7096.1"


def release(version: str, **members: Any) -> dict[str, Any]:
    return {
        "version": version,
        "name": "Update rollup 74",
        "releasedOn": "2024-07-01",
        "withdrawn": False,
        "requiresSecurityUpdate": False,
        "supportEndsOn": None,
        "versionStatus": "Supported",
        "newest": False,
        **members,
    }


def plan(**members: Any) -> dict[str, Any]:
    path = ["9.61.7016.1", NEWEST]
    server = {
        "id": "id-1",
        "name": "cs-1",
        "version": OLD,
        "versionStatus": "NotSupported",
        "connectionState": "Connected",
        "upgradePath": path,
        "reason": None,
    }
    return {
        "vault": "prod",
        "target": NEWEST,
        "upToDate": False,
        "upgradeOrder": ["configuration-server", "process-server", "mobility-agent"],
        "configurationServer": server,
        "processServers": [
            {**server, "name": "ps-1", "kind": "scaleOut"},
            {**server, "name": "ps-done", "kind": "scaleOut", "version": NEWEST, "upgradePath": []},
            {**server, "name": "ps-lost", "kind": "scaleOut", "upgradePath": None, "reason": "too old for that"},
        ],
        "mobilityAgents": [
            {"version": OLD, "versionStatus": "NotSupported", "machineCount": 85, "upgradePath": path, "reason": None}
        ],
        "reboots": {"machineCount": 2, "unknownCount": 4, "items": [machine("web-1")], "nextCursor": "next"},
        **members,
    }


def machine(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "processServer": "ps-1",
        "agentVersion": OLD,
        "lastRebootAgentVersion": None,
        "rebootAfter": [NEWEST],
    }


def test_releases_are_listed(api: FakeApi, muster: Muster) -> None:
    found = [
        release(NEWEST, newest=True),
        release("9.61.7016.1", withdrawn=True, versionStatus="UpdateRequired", supportEndsOn="2025-04-01"),
    ]
    api.pages(RELEASES, found)
    lines = muster("release", "list").stdout.splitlines()
    assert lines[1].split()[:4] == [NEWEST, "Supported", "newest", "2024-07-01"]
    assert lines[2].split()[:5] == ["9.61.7016.1", "UpdateRequired", "withdrawn", "2024-07-01", "2025-04-01"]
    assert json.loads(muster("release", "list", "--json").stdout) == found


def test_an_empty_catalogue_says_how_to_fill_it(api: FakeApi, muster: Muster) -> None:
    api.pages(RELEASES, [])
    result = muster("release", "list")
    assert result.stdout == ""
    assert "muster release add" in result.stderr


def test_a_release_is_added(api: FakeApi, muster: Muster) -> None:
    api.answer("POST", RELEASES, release("9.63.1.1", name="Rollup 75", newest=True), status=201)
    result = muster(
        *("release", "add", "9.63.1.1", "--name", "Rollup 75", "--released-on", "2024-10-01"),
        *("--support-ends-on", "2025-10-01", "--requires-security-update"),
    )
    assert "Added release 9.63.1.1 (Rollup 75), the newest." in result.stdout
    (request,) = api.asked("POST", RELEASES)
    assert json.loads(request.content) == {
        "version": "9.63.1.1",
        "name": "Rollup 75",
        "releasedOn": "2024-10-01",
        "supportEndsOn": "2025-10-01",
        "requiresSecurityUpdate": True,
    }
    assert request.headers["Idempotency-Key"]
    muster("release", "add", "9.63.1.1")
    assert json.loads(api.requests[-1].content) == {"version": "9.63.1.1", "requiresSecurityUpdate": False}


def test_a_refused_release_is_a_failure(api: FakeApi, muster: Muster) -> None:
    api.refuse("POST", RELEASES, 409, "release-exists")
    result = muster("release", "add", NEWEST)
    assert result.exit_code != 0
    assert "release-exists" in result.stderr


def test_a_release_is_withdrawn_after_a_question(api: FakeApi, muster: Muster) -> None:
    # As the control plane sends it: nothing, but labelled.
    api.answer("DELETE", f"{RELEASES}/{NEWEST}", status=204, headers={"Content-Type": "application/json"})
    refused = muster("release", "withdraw", NEWEST)
    assert refused.exit_code != 0
    assert "--yes" in refused.stderr
    assert api.asked("DELETE") == []
    done = muster("release", "withdraw", NEWEST, "--yes")
    assert (done.exit_code, done.stderr) == (0, "Withdrew release 9.62.7096.1.\n")
    assert len(api.asked("DELETE", f"{RELEASES}/{NEWEST}")) == 1


def test_versions_are_compared(api: FakeApi, muster: Muster) -> None:
    answer = {
        "compatible": False,
        "code": "version-above-configuration-server",
        "reason": "process server 9.62.7096.1 is newer than configuration server 9.57.6920.1",
        "latestRelease": NEWEST,
        "configurationServer": {
            "version": OLD,
            "versionStatus": "NotSupported",
            "upgradePath": ["9.61.7016.1", NEWEST],
        },
        "processServer": {"version": NEWEST, "versionStatus": "Supported", "upgradePath": []},
        "upgradeOrder": ["configuration-server", "process-server"],
    }
    api.answer("GET", "/api/v1/version-compatibility", answer)
    result = muster("version-compatibility", OLD, NEWEST)
    assert result.exit_code == 0
    assert dict(api.requests[-1].url.params) == {"configurationServer": OLD, "processServer": NEWEST}
    for text in (
        "Not compatible: version-above-configuration-server",
        str(answer["reason"]),
        "9.61.7016.1 > 9.62.7096.1",
        "nothing to install",
    ):
        assert text in result.stdout
    assert json.loads(muster("version-compatibility", OLD, NEWEST, "--json").stdout) == answer
    answer["processServer"]["upgradePath"] = None  # type: ignore[index]
    api.answer("GET", "/api/v1/version-compatibility", {**answer, "compatible": True})
    output = muster("version-compatibility", OLD, NEWEST).stdout
    assert output.startswith("Compatible")
    assert "no way" in output


def answer_plan(api: FakeApi, found: dict[str, Any]) -> None:
    """The plan in two pages of machines."""

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("cursor") == "next":
            second = {**found["reboots"], "items": [machine("web-2")], "nextCursor": None}
            return httpx.Response(200, json={**found, "reboots": second})
        return httpx.Response(200, json=found)

    api.on("GET", PLAN, handler)


def test_a_plan_shows_steps_reasons_and_all_machines_to_reboot(api: FakeApi, muster: Muster) -> None:
    answer_plan(api, plan())
    result = muster("configuration-server", "upgrade-plan", "cs-1")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[:3] for row in rows if row[0] in {"1", "2", "3"}] == [
        ["1", "configuration", "server"],
        ["2", "process", "server"],
        ["2", "process", "server"],
        ["3", "mobility", "agent"],
    ]
    assert "85 machines" in result.stdout
    assert "9.61.7016.1 > 9.62.7096.1" in result.stdout
    assert "ps-done" not in result.stdout
    assert [row[0] for row in rows if row[0].startswith("web")] == ["web-1", "web-2"]
    assert "process server ps-lost: too old for that" in result.stderr
    assert "to 9.62.7096.1" in result.stderr
    assert "need a reboot: 2" in result.stderr
    assert "not known: 4" in result.stderr


def test_a_plan_as_json_has_its_pages_joined(api: FakeApi, muster: Muster) -> None:
    answer_plan(api, plan())
    result = muster("cs", "upgrade-plan", "cs-1", "--target", NEWEST, "--json")
    whole = plan()
    whole["reboots"] |= {"items": [machine("web-1"), machine("web-2")], "nextCursor": None}
    assert json.loads(result.stdout) == whole
    assert [dict(request.url.params) for request in api.asked("GET", PLAN)] == [
        {"target": NEWEST, "limit": "500"},
        {"target": NEWEST, "limit": "500", "cursor": "next"},
    ]


def test_a_plan_with_nothing_to_do_says_so(api: FakeApi, muster: Muster) -> None:
    done = {**plan()["configurationServer"], "upgradePath": []}
    reboots = {"machineCount": 0, "unknownCount": 0, "items": [], "nextCursor": None}
    answer_plan(api, plan(configurationServer=done, processServers=[], mobilityAgents=[], reboots=reboots))
    result = muster("cs", "upgrade-plan", "cs-1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "up to date" in result.stderr
