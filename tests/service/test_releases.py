"""The release catalogue and version compatibility over HTTP."""

import asyncio
from typing import Any

import pytest

from tests.support.muster import Site, pointers, problem

RELEASES = "/api/v1/releases"
COMPATIBILITY = "/api/v1/version-compatibility"
SHIPPED = ["9.62.7096.1", "9.61.7016.1", "9.60.6956.1", "9.59.6930.1", "9.57.6920.1"]


async def add(site: Site, version: str, **members: Any) -> dict[str, Any]:
    answer = await site.client.post(RELEASES, json={"version": version, **members})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def withdraw(site: Site, version: str) -> None:
    answer = await site.client.delete(f"{RELEASES}/{version}")
    assert (answer.status_code, answer.content) == (204, b"")


async def listed(site: Site) -> dict[str, dict[str, Any]]:
    return {release["version"]: release for release in await site.walk(RELEASES)}


async def compare(site: Site, configuration_server: str, process_server: str) -> dict[str, Any]:
    query = {"configurationServer": configuration_server, "processServer": process_server}
    answer = await site.client.get(COMPATIBILITY, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_the_catalogue_ships_with_the_real_releases(site: Site) -> None:
    releases = await site.walk(RELEASES)
    assert [release["version"] for release in releases] == SHIPPED
    assert releases[0] == {
        "version": "9.62.7096.1",
        "name": "Update rollup 74",
        "releasedOn": "2024-07-01",
        "withdrawn": False,
        "requiresSecurityUpdate": False,
        "supportEndsOn": None,
        "versionStatus": "Supported",
        "newest": True,
    }
    assert [release["newest"] for release in releases] == [True, False, False, False, False]
    assert [release["versionStatus"] for release in releases][-2:] == ["Supported", "NotSupported"]


async def test_a_new_release_is_listed_and_judges_all_others(site: Site) -> None:
    body: dict[str, Any] = {
        "version": "9.63.7200.1",
        "name": "Update rollup 75",
        "releasedOn": "2024-10-01",
        "requiresSecurityUpdate": False,
        "supportEndsOn": "2025-10-01",
    }
    assert await add(site, **body) == {**body, "withdrawn": False, "versionStatus": "Supported", "newest": True}
    found = await listed(site)
    assert next(iter(found)) == "9.63.7200.1"
    assert found["9.63.7200.1"]["supportEndsOn"] == "2025-10-01"
    assert not found["9.62.7096.1"]["newest"]
    assert found["9.59.6930.1"]["versionStatus"] == "Deprecated"


async def test_only_the_version_is_needed_and_it_has_one_spelling(site: Site) -> None:
    release = await add(site, "09.063.1.01")
    assert (release["version"], release["name"]) == ("9.63.1.1", "9.63.1.1")
    assert (release["releasedOn"], release["supportEndsOn"], release["requiresSecurityUpdate"]) == (None, None, False)


async def test_a_release_is_in_the_catalogue_once(site: Site) -> None:
    answer = await site.client.post(RELEASES, json={"version": "9.62.7096.01"})
    assert "9.62.7096.1" in problem(answer, 409, "release-exists")["detail"]
    answers = await asyncio.gather(
        *(site.client.post(RELEASES, json={"version": "9.63.1.1"}) for _ in range(5)),
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    assert len(await site.walk(RELEASES)) == len(SHIPPED) + 1


async def test_a_repeated_request_gets_the_first_answer(site: Site) -> None:
    headers = {"Idempotency-Key": "once"}
    answers = [await site.client.post(RELEASES, json={"version": "9.63.1.1"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"version": "9.63"}, "#/version"),
        ({"version": "9.63.1.x"}, "#/version"),
        ({"version": 9}, "#/version"),
        ({"name": ""}, "#/name"),
        ({"name": "x\u0000"}, "#/name"),
        ({"releasedOn": "yesterday"}, "#/releasedOn"),
        ({"releasedOn": 1_700_000_000}, "#/releasedOn"),
        ({"releasedOn": "2024-10-01T00:00:00Z"}, "#/releasedOn"),
        ({"releasedOn": "2024-02-30"}, "#/releasedOn"),
        ({"supportEndsOn": True}, "#/supportEndsOn"),
        ({"releasedOn": "2024-10-01", "supportEndsOn": "2024-09-30"}, "#/supportEndsOn"),
        ({"requiresSecurityUpdate": "yes"}, "#/requiresSecurityUpdate"),
        ({"withdrawn": True}, "#/withdrawn"),
    ],
)
async def test_what_is_wrong_is_named(site: Site, changes: dict[str, Any], pointer: str) -> None:
    answer = await site.client.post(RELEASES, json={"version": "9.63.1.1", **changes})
    assert pointers(answer) == [pointer]
    assert len(await site.walk(RELEASES)) == len(SHIPPED)


async def test_a_withdrawn_release_stays_listed_and_its_servers_are_asked_to_update(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.process_server(server, agentVersion="9.61.7016.1")
    assert (await site.read_configuration_server())["versionStatus"] == "Supported"
    for _ in range(2):
        await withdraw(site, "9.62.7096.1")
    found = (await listed(site))["9.62.7096.1"]
    assert (found["withdrawn"], found["newest"], found["versionStatus"]) == (True, False, "UpdateRequired")
    assert (await listed(site))["9.61.7016.1"]["newest"]
    assert (await site.read_configuration_server())["versionStatus"] == "UpdateRequired"
    process_server = await site.read_process_server()
    assert (process_server["versionStatus"], process_server["updateAvailable"]) == ("Supported", False)
    answer = await site.client.get(
        "/api/v1/vaults/contoso/configuration-servers", params={"versionStatus": "UpdateRequired"}
    )
    assert [entry["name"] for entry in answer.json()["items"]] == ["cs-1"]


async def test_a_withdrawn_release_comes_back_as_it_is_described_anew(site: Site) -> None:
    await withdraw(site, "9.62.7096.1")
    release = await add(site, "9.62.7096.1", name="Rollup 74, mended", requiresSecurityUpdate=True)
    assert release == {
        "version": "9.62.7096.1",
        "name": "Rollup 74, mended",
        "releasedOn": None,
        "withdrawn": False,
        "requiresSecurityUpdate": True,
        "supportEndsOn": None,
        "versionStatus": "SecurityUpdateRequired",
        "newest": True,
    }
    assert (await listed(site))["9.62.7096.1"] == release
    problem(await site.client.post(RELEASES, json={"version": "9.62.7096.1"}), 409, "release-exists")


async def test_what_is_not_there_is_not_withdrawn(site: Site) -> None:
    assert "9.63.1.1" in problem(await site.client.delete(f"{RELEASES}/9.63.1.1"), 404, "release-not-found")["detail"]
    assert pointers(await site.client.delete(f"{RELEASES}/newest")) == ["#/path/version"]


async def test_pages_follow_versions_as_numbers_while_the_catalogue_changes(site: Site) -> None:
    for minor in (9, 10, 100):
        await add(site, f"9.{minor}.1.1")
    await add(site, "10.0.1.1")
    seen: list[str] = []
    cursor = None
    while True:
        query: dict[str, Any] = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        answer = await site.client.get(RELEASES, params=query)
        seen += [release["version"] for release in answer.json()["items"]]
        cursor = answer.json()["nextCursor"]
        if cursor is None:
            break
        await add(site, f"11.0.{len(seen)}.1")
        await withdraw(site, seen[-1])
    assert seen == ["10.0.1.1", "9.100.1.1", *SHIPPED, "9.10.1.1", "9.9.1.1"]


async def test_a_cursor_of_another_list_is_refused(site: Site) -> None:
    for name in ("a", "b"):
        await site.vault(name)
    vaults = (await site.client.get("/api/v1/vaults", params={"limit": 1})).json()["nextCursor"]
    for cursor in ("x", vaults):
        problem(await site.client.get(RELEASES, params={"cursor": cursor}), 400, "cursor-unreadable")


async def test_the_catalogue_is_everybodys_to_read_and_no_vaults_to_change(site: Site) -> None:
    await site.vault()
    admin = await site.caller("admin", "contoso")
    assert (await admin.get(RELEASES)).status_code == 200
    problem(await admin.post(RELEASES, json={"version": "9.63.1.1"}), 403, "forbidden")
    problem(await admin.delete(f"{RELEASES}/9.62.7096.1"), 403, "forbidden")
    reader = await site.caller("reader", "contoso")
    query = {"configurationServer": "9.62.7096.1", "processServer": "9.61.7016.1"}
    assert (await reader.get(COMPATIBILITY, params=query)).status_code == 200


async def test_a_process_server_above_its_configuration_server_is_incompatible(site: Site) -> None:
    assert await compare(site, "9.57.6920.1", "9.61.7016.1") == {
        "compatible": False,
        "code": "version-above-configuration-server",
        "reason": "process server 9.61.7016.1 is newer than configuration server 9.57.6920.1",
        "latestRelease": "9.62.7096.1",
        "configurationServer": {
            "version": "9.57.6920.1",
            "versionStatus": "NotSupported",
            "upgradePath": ["9.61.7016.1", "9.62.7096.1"],
        },
        "processServer": {
            "version": "9.61.7016.1",
            "versionStatus": "Supported",
            "upgradePath": ["9.62.7096.1"],
        },
        "upgradeOrder": ["configuration-server", "process-server"],
    }


async def test_support_does_not_decide_about_compatibility(site: Site) -> None:
    found = await compare(site, "9.62.7096.1", "9.57.6920.1")
    assert (found["compatible"], found["code"]) == (True, "compatible")
    assert found["reason"] == "process server 9.57.6920.1 is older than configuration server 9.62.7096.1"
    assert found["processServer"]["versionStatus"] == "NotSupported"
    same = await compare(site, "9.62.7096.1", "9.62.7096.1")
    assert (same["compatible"], same["configurationServer"]["upgradePath"]) == (True, [])
    newer = await compare(site, "9.64.1.1", "9.63.1.1")
    assert (newer["compatible"], newer["processServer"]["upgradePath"]) == (True, [])


async def test_the_documented_path_from_9_16_to_9_24(site: Site) -> None:
    for version in SHIPPED:
        await withdraw(site, version)
    for minor in range(16, 25):
        await add(site, f"9.{minor}.0.1")
    found = await compare(site, "9.16.0.1", "9.7.0.1")
    assert found["configurationServer"]["upgradePath"] == ["9.20.0.1", "9.24.0.1"]
    assert found["latestRelease"] == "9.24.0.1"


async def test_no_way_to_the_newest_release_is_null_and_says_why(site: Site) -> None:
    found = await compare(site, "9.62.7096.1", "9.50.1.1")
    assert found["compatible"]
    assert found["processServer"]["upgradePath"] is None
    assert "9.50.1.1 can't be upgraded to 9.62.7096.1" in found["reason"]
    assert "9.57.6920.1" in found["reason"]


async def test_an_empty_catalogue_asks_for_nothing(site: Site) -> None:
    for version in SHIPPED:
        await withdraw(site, version)
    found = await compare(site, "9.50.1.1", "9.50.1.1")
    assert (found["latestRelease"], found["processServer"]["upgradePath"]) == (None, [])


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"configurationServer": "9.62", "processServer": "9.62.7096.1"}, ["#/query/configurationServer"]),
        ({"configurationServer": "9.62.7096.1", "processServer": "new"}, ["#/query/processServer"]),
        ({"configurationServer": "9.62.7096.1"}, ["#/query/processServer"]),
        ({}, ["#/query/configurationServer", "#/query/processServer"]),
    ],
)
async def test_what_is_no_version_is_refused(site: Site, query: dict[str, str], pointer: list[str]) -> None:
    assert pointers(await site.client.get(COMPATIBILITY, params=query)) == pointer
