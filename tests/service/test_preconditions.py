"""ETag and If-Match: a change applies to what its author saw."""

from typing import Any

import pytest

from tests.support.muster import TELEMETRY, Site, problem

VAULT = "/api/v1/vaults/contoso"
SERVER = f"{VAULT}/configuration-servers/cs-1"
PROCESS_SERVER = f"{VAULT}/process-servers/ps-1"
NESTED = f"{SERVER}/process-servers/ps-1"


@pytest.fixture
async def registered(site: Site) -> list[dict[str, Any]]:
    """A vault with a configuration server and a process server."""
    await site.vault()
    server = await site.configuration_server()
    return [server, await site.process_server(server)]


async def _etag(site: Site, path: str) -> str:
    return (await site.client.get(path)).headers["etag"]


@pytest.mark.parametrize("path", [VAULT, SERVER, PROCESS_SERVER, NESTED])
async def test_a_stale_change_is_refused(site: Site, registered: list[dict[str, Any]], path: str) -> None:
    first = await _etag(site, path)
    assert first.startswith('"')
    changed = await site.client.patch(path, json={"friendlyName": "first"}, headers={"If-Match": first})
    assert changed.status_code == 200, changed.text
    second = changed.headers["etag"]
    assert second != first
    assert second == await _etag(site, path)
    for if_match in (first, f"W/{second}", "nonsense", f"{first}, {first}", '"', '""'):
        answer = await site.client.patch(path, json={"friendlyName": "lost"}, headers={"If-Match": if_match})
        assert second in problem(answer, 412, "precondition-failed")["detail"]
    assert (await site.client.get(path)).json()["friendlyName"] == "first"
    present = await _etag(site, path)
    for number, form in enumerate(("*", None, "{}", '"x", {}', '{}, "x"')):
        headers = {"If-Match": form.format(present)} if form else {}
        answer = await site.client.patch(path, json={"friendlyName": f"again {number}"}, headers=headers)
        assert answer.status_code == 200, answer.text
        present = answer.headers["etag"]


@pytest.mark.parametrize("path", [SERVER, VAULT])
async def test_a_stale_deletion_is_refused(site: Site, path: str) -> None:
    await site.vault()
    if path == SERVER:
        await site.configuration_server()
    first = await _etag(site, path)
    await site.client.patch(path, json={"friendlyName": "changed"})
    problem(await site.client.delete(path, headers={"If-Match": first}), 412, "precondition-failed")
    answer = await site.client.delete(path, headers={"If-Match": await _etag(site, path)})
    assert answer.status_code == 204, answer.text


async def test_what_comes_again_under_an_old_name_has_another_etag(site: Site) -> None:
    await site.vault()
    first = await _etag(site, VAULT)
    await site.client.delete(VAULT)
    await site.vault()
    assert await _etag(site, VAULT) != first
    problem(await site.client.delete(VAULT, headers={"If-Match": first}), 412, "precondition-failed")


async def test_both_addresses_of_a_process_server_have_one_etag(site: Site, registered: list[dict[str, Any]]) -> None:
    assert await _etag(site, PROCESS_SERVER) == await _etag(site, NESTED)


async def test_heartbeats_and_telemetry_leave_the_etag(site: Site, registered: list[dict[str, Any]]) -> None:
    before = {path: await _etag(site, path) for path in (VAULT, SERVER, PROCESS_SERVER)}
    for sequence in (1, 2):
        for entry in registered:
            await site.beat(entry, sequence, telemetry=TELEMETRY)
    await site.pass_time(1_000)
    assert (await site.read_process_server())["connectionState"] == "Disconnected"
    assert {path: await _etag(site, path) for path in before} == before


async def test_maintenance_changes_the_etag(site: Site, registered: list[dict[str, Any]]) -> None:
    before = await _etag(site, PROCESS_SERVER)
    answer = await site.client.patch(PROCESS_SERVER, json={"maintenance": {}}, headers={"If-Match": before})
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] != before
    problem(
        await site.client.patch(PROCESS_SERVER, json={"maintenance": None}, headers={"If-Match": before}),
        412,
        "precondition-failed",
    )


async def test_an_unknown_resource_is_404_whatever_was_seen(site: Site) -> None:
    answer = await site.client.patch(VAULT, json={}, headers={"If-Match": '"1"'})
    problem(answer, 404, "vault-not-found")
