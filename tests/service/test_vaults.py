"""Vaults: create, read, list, change, delete, count."""

import pytest

from app.core.wire import rfc3339
from tests.support.muster import Site, machine, pointers, problem

VAULTS = "/api/v1/vaults"


async def test_a_new_vault_is_there_under_name_and_id(site: Site) -> None:
    answer = await site.client.post(VAULTS, json={"name": "Contoso-DR", "location": "westeurope"})
    assert answer.status_code == 201, answer.text
    vault = answer.json()
    assert answer.headers["location"] == f"{VAULTS}/contoso-dr"
    assert vault == {
        "id": vault["id"],
        "name": "contoso-dr",
        "friendlyName": "contoso-dr",
        "location": "westeurope",
        "configurationServerCount": 0,
        "processServerCount": 0,
        "health": "Healthy",
        "createdAt": rfc3339(site.clock.now()),
        "updatedAt": rfc3339(site.clock.now()),
    }
    for ref in ("contoso-dr", "CONTOSO-DR", vault["id"], vault["id"].upper()):
        read = await site.client.get(f"{VAULTS}/{ref}")
        assert (read.json(), read.headers["etag"]) == (vault, answer.headers["etag"])
    assert await site.walk(VAULTS) == [vault]
    assert (await site.event_types("contoso-dr")) == ["vault.created"]


@pytest.mark.parametrize("name", ["contoso", "CONTOSO"])
async def test_a_vaults_name_is_taken_once(site: Site, name: str) -> None:
    await site.vault("contoso")
    answer = await site.client.post(VAULTS, json={"name": name, "location": "x"})
    assert "'contoso'" in problem(answer, 409, "name-taken")["detail"]
    assert len(await site.walk(VAULTS)) == 1


async def test_names_of_one_and_of_63_characters_are_good(site: Site) -> None:
    for name in ("a", "-", "0" * 63):
        answer = await site.client.post(VAULTS, json={"name": name, "location": "x"})
        assert answer.status_code == 201, answer.text
        assert (await site.client.get(f"{VAULTS}/{name}")).json()["name"] == name


async def test_a_change_names_what_changes(site: Site) -> None:
    await site.vault()
    before = (await site.client.get(f"{VAULTS}/contoso")).json()
    site.manual_clock.advance(10)
    answer = await site.client.patch(f"{VAULTS}/contoso", json={"friendlyName": "Contoso Ünïcode 🚀"})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        **before,
        "friendlyName": "Contoso Ünïcode 🚀",
        "updatedAt": rfc3339(site.clock.now()),
    }
    assert (await site.client.get(f"{VAULTS}/contoso")).json() == answer.json()
    event = (await site.events())[-1]
    assert event["type"] == "vault.updated"
    assert event["actor"] == "token:admin"


async def test_events_name_changes_as_the_api_does(site: Site) -> None:
    await site.vault()
    await site.client.patch(f"{VAULTS}/contoso", json={"friendlyName": "x", "location": "y"})
    assert (await site.events())[-1]["data"] == {"friendlyName": "x", "location": "y"}


@pytest.mark.parametrize("body", [{}, {"friendlyName": None}, {"location": "westeurope"}])
async def test_a_change_of_nothing_is_none(site: Site, body: dict[str, object]) -> None:
    await site.vault()
    before = await site.client.get(f"{VAULTS}/contoso")
    site.manual_clock.advance(10)
    answer = await site.client.patch(f"{VAULTS}/contoso", json=body)
    assert (answer.status_code, answer.json()) == (200, before.json())
    assert answer.headers["etag"] == before.headers["etag"]
    assert await site.event_types() == ["vault.created"]


async def test_a_vaults_name_is_immutable(site: Site) -> None:
    await site.vault()
    assert pointers(await site.client.patch(f"{VAULTS}/contoso", json={"name": "other"})) == ["#/name"]
    assert pointers(await site.client.patch(f"{VAULTS}/contoso", json={"friendlyName": ""})) == ["#/friendlyName"]


async def test_an_unknown_vault_is_404_everywhere(site: Site) -> None:
    for method, below, body in (
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("GET", "/summary", None),
        ("GET", "/events", None),
        ("GET", "/registration-keys", None),
        ("POST", "/registration-keys", None),
        ("GET", "/configuration-servers", None),
        ("GET", "/process-servers", None),
    ):
        answer = await site.client.request(method, f"{VAULTS}/nowhere{below}", json=body)
        assert "'nowhere'" in problem(answer, 404, "vault-not-found")["detail"]


async def test_an_empty_vault_is_deleted_with_its_keys(site: Site) -> None:
    await site.vault()
    key = await site.registration_key()
    answer = await site.client.delete(f"{VAULTS}/contoso")
    assert (answer.status_code, answer.content) == (204, b"")
    problem(await site.client.get(f"{VAULTS}/contoso"), 404, "vault-not-found")
    problem(await site.client.delete(f"{VAULTS}/contoso"), 404, "vault-not-found")
    refused = await site.agent_post(
        "/agent/v1/configuration-servers/register", {**machine("cs-1"), "registrationKey": key}
    )
    problem(refused, 401, "registration-key-refused")
    await site.vault()
    assert await site.event_types() == ["vault.created"]


async def test_a_vault_that_is_not_empty_stays(site: Site) -> None:
    await site.vault()
    for number in (1, 2):
        await site.configuration_server(name=f"cs-{number}")
    document = problem(await site.client.delete(f"{VAULTS}/contoso"), 409, "vault-not-empty")
    (blocker,) = document["blockers"]
    assert (blocker["code"], blocker["count"]) == ("configuration-servers", 2)
    for number in (1, 2):
        await site.client.delete(f"{VAULTS}/contoso/configuration-servers/cs-{number}")
    assert (await site.client.delete(f"{VAULTS}/contoso")).status_code == 204


async def test_vaults_are_searched_and_ordered(site: Site) -> None:
    for name, friendly in (("beta", "Second 100%"), ("alpha", "First"), ("gamma", "Third_one")):
        body = {"name": name, "location": "x", "friendlyName": friendly}
        assert (await site.client.post(VAULTS, json=body)).status_code == 201

    async def names(**query: str) -> list[str]:
        return [entry["name"] for entry in await site.walk(VAULTS, **query)]

    assert await names() == ["alpha", "beta", "gamma"]
    assert await names(orderBy="-name") == ["gamma", "beta", "alpha"]
    assert await names(orderBy="createdAt") == ["beta", "alpha", "gamma"]
    assert await names(orderBy="-createdAt", limit="1") == ["gamma", "alpha", "beta"]
    assert await names(q="ALPH") == ["alpha"]
    assert await names(q="third") == ["gamma"]
    assert await names(q="%") == ["beta"]
    assert await names(q="_") == ["gamma"]
    assert await names(q="nothing") == []


async def test_the_summary_counts(site: Site) -> None:
    await site.vault()
    await site.vault("other")
    empty = (await site.client.get(f"{VAULTS}/contoso/summary")).json()
    assert empty["processServers"]["total"] == empty["sourceMachineCount"] == empty["churnInBytesPerDay"] == 0
    server = await site.configuration_server()
    await site.configuration_server("other", "cs-2")
    connected = await site.process_server(server, "ps-1")
    await site.process_server(server, "ps-2", kind="failback", agentVersion="9.50.1.1")
    for number in (3, 4):
        await site.process_server(server, f"ps-{number}")
    await site.beat(server)
    await site.beat(connected)
    await site.source_machine(connected["id"], "web-1", 10 * 2**30)
    await site.source_machine(connected["id"], "web-2", 2**41)
    answer = await site.client.get(f"{VAULTS}/CONTOSO/summary")
    assert answer.json() == {
        "health": "Critical",
        "configurationServers": {
            "total": 1,
            "byConnectionState": {"Connected": 1},
            "byHealth": {"Critical": 1},
        },
        "processServers": {
            "total": 5,
            "byKind": {"inbuilt": 1, "scaleOut": 3, "failback": 1},
            "byConnectionState": {"Connected": 2, "Disconnected": 3},
            "byHealth": {"Healthy": 2, "Critical": 3},
            "byVersionStatus": {"Supported": 4, "NotSupported": 1},
        },
        "sourceMachineCount": 2,
        "churnInBytesPerDay": 10 * 2**30 + 2**41,
    }
    vault = (await site.client.get(f"{VAULTS}/contoso")).json()
    assert (vault["configurationServerCount"], vault["processServerCount"]) == (1, 5)
    assert {entry["name"]: entry["processServerCount"] for entry in await site.walk(VAULTS)} == {
        "contoso": 5,
        "other": 1,
    }
