"""Registration: who is let in, as what, and what the answer says."""

from typing import Any

import pytest
from sqlalchemy import select

from app.core.db import Database
from app.models import ConfigurationServer, Host, ProcessServer
from tests.support.muster import Site, machine, registration
from tests.support.rows import count, host_row

CS = "/agent/v1/configuration-servers/register"
PS = "/agent/v1/process-servers/register"


async def test_a_configuration_server_is_new_once_and_known_afterwards(site: Site) -> None:
    await site.vault()
    body = {"registrationKey": await site.registration_key(), **machine("cs-1")}
    first = await site.agent_post(CS, body)
    again = await site.agent_post(CS, body)
    assert (first.status_code, again.status_code) == (201, 200)
    new, known = first.json(), again.json()
    assert new["id"] == known["id"]
    assert new["name"] == new["configurationServer"] == "cs-1"
    assert new["vault"] == "contoso"
    assert new["heartbeat"] == {"intervalSeconds": 30, "timeoutSeconds": 900}
    assert new["credential"] != known["credential"]
    assert len(new["passphrase"].replace("-", "")) == 32
    assert "passphrase" not in known
    assert (await site.event_types())[2:] == [
        "configuration-server.registered",
        "process-server.registered",
        "configuration-server.re-registered",
    ]


async def test_a_process_server_is_new_once_and_known_afterwards(site: Site) -> None:
    await site.vault()
    body = registration(await site.configuration_server(), "ps-1")
    first = await site.agent_post(PS, body)
    again = await site.agent_post(PS, {**body, "dataTransferPort": 9444})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert first.json()["credential"] != again.json()["credential"]
    assert "passphrase" not in first.json()
    assert (await site.read_process_server())["dataTransferPort"] == 9444
    assert (await site.event_types())[-2:] == ["process-server.registered", "process-server.re-registered"]


async def test_the_inbuilt_process_server_shares_its_host(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    inbuilt = await site.read_process_server("cs-1")
    assert inbuilt["kind"] == "inbuilt"
    assert inbuilt["configurationServer"] == "cs-1"
    assert inbuilt["hostId"] == machine("cs-1")["hostId"]
    await site.beat(server)
    assert (await site.read_process_server("cs-1"))["connectionState"] == "Connected"


@pytest.mark.parametrize("kind", ["configuration server", "process server"])
async def test_a_lost_answer_is_given_again_for_the_same_idempotency_key(site: Site, kind: str) -> None:
    await site.vault()
    if kind == "configuration server":
        path, body = CS, {"registrationKey": await site.registration_key(), **machine("cs-1")}
    else:
        path, body = PS, registration(await site.configuration_server(), "ps-1")
    first = await site.agent_post(path, body, **{"Idempotency-Key": "attempt-1"})
    again = await site.agent_post(path, body, **{"Idempotency-Key": "attempt-1"})
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    if kind == "configuration server":
        assert again.json()["passphrase"]
    assert (await site.beat(again.json())).status_code == 200

    other = await site.agent_post(path, {**body, "fqdn": "other.example"}, **{"Idempotency-Key": "attempt-1"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency-key-reused")


async def test_another_machine_with_a_taken_name_is_refused_and_told_whose_it_is(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.process_server(server)
    key = await site.registration_key()
    for path, body, name in (
        (CS, {"registrationKey": key, **machine("cs-1", "another-host")}, "cs-1"),
        (PS, registration(server, "ps-1", hostId="another-host"), "ps-1"),
        (PS, registration(server, "cs-1", hostId="another-host"), "cs-1"),
    ):
        answer = await site.agent_post(path, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "name-in-use-by-another-host")
        assert f"'{name}'" in answer.json()["detail"]
        assert machine(name)["hostId"] in answer.json()["detail"]
    # Unique inside its parent only.
    other = await site.configuration_server(name="cs-2", key=key)
    assert (await site.agent_post(PS, registration(other, "ps-1", hostId="another-host"))).status_code == 201


@pytest.mark.parametrize(
    "spelled",
    ["10.150.24.119", " 10.150.24.119 ", "2001:db8::a", "2001:DB8:0:0:0:0:0:A", "2001:0db8::000a",
     "[2001:db8::a]", "::ffff:10.150.24.119", "cs-1.corp.example", "CS-1.Corp.EXAMPLE", "cs-1.corp.example.", "CS-1",
     "id"],
)  # fmt: skip
async def test_the_configuration_server_is_found_by_any_of_its_names(site: Site, spelled: str) -> None:
    await site.vault()
    server = await site.configuration_server(ipAddresses=["10.150.24.119", "2001:DB8::A"], fqdn="Cs-1.Corp.Example")
    wanted = server["id"].upper() if spelled == "id" else spelled
    found = await site.process_server(server, configurationServer=wanted)
    assert found["configurationServer"] == "cs-1"


async def test_it_is_found_by_an_address_that_a_heartbeat_spelled_its_own_way(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.beat(server, ipAddresses=["2001:DB8:0::B", "10.9.9.9"])
    await site.process_server(server, configurationServer="2001:db8::b")
    await site.process_server(server, "ps-2", configurationServer="10.9.9.9")
    gone = await site.agent_post(PS, registration(server, "ps-3", configurationServer="10.150.24.119"))
    assert gone.status_code == 401


async def test_of_two_sites_with_the_same_private_address_the_passphrase_decides(site: Site) -> None:
    await site.vault("contoso")
    await site.vault("fabrikam")
    one = await site.configuration_server("contoso", "cs-1")
    two = await site.configuration_server("fabrikam", "cs-1")
    for server, vault in ((one, "contoso"), (two, "fabrikam")):
        answer = await site.agent_post(PS, registration(server, "ps-1", configurationServer="10.150.24.119"))
        assert answer.status_code == 201
        assert answer.json()["vault"] == vault


async def test_a_process_server_above_its_configuration_server_is_refused_with_both_versions(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server(agentVersion="9.9.7000.1")
    for above in ("9.10.0.0", "9.9.7000.2", "10.0.0.0"):
        answer = await site.agent_post(PS, registration(server, "ps-1", agentVersion=above))
        assert (answer.status_code, answer.json()["code"]) == (409, "version-above-configuration-server")
        assert f"process server {above} is newer than configuration server 9.9.7000.1" in answer.json()["detail"]
        assert answer.json()["processServerVersion"] == above
        assert answer.json()["configurationServerVersion"] == "9.9.7000.1"
    await site.process_server(server, "ps-1", agentVersion="9.9.7000.1")
    await site.process_server(server, "ps-2", agentVersion="9.9.6999.9")


async def test_what_the_configuration_server_reports_by_heartbeat_counts(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server(agentVersion="9.61.7016.1")
    body = registration(server, "ps-1")
    assert (await site.agent_post(PS, body)).status_code == 409
    await site.beat(server)
    assert (await site.agent_post(PS, body)).status_code == 201


async def test_a_version_out_of_support_is_accepted_marked_and_said(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    old = await site.process_server(server, agentVersion="9.57.6920.1")
    assert [notice["code"] for notice in old["notices"]] == ["version-status"]
    assert "NotSupported" in old["notices"][0]["message"]
    assert (await site.read_process_server())["versionStatus"] == "NotSupported"
    fine = await site.process_server(server, "ps-2")
    assert fine["notices"] == []


async def test_port_443_is_accepted_with_a_warning(site: Site) -> None:
    await site.vault()
    registered = await site.process_server(await site.configuration_server(), dataTransferPort=443)
    assert [notice["code"] for notice in registered["notices"]] == ["data-transfer-port-443"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"kind": "inbuilt"}, "#/kind"),
        ({"kind": "scaleout"}, "#/kind"),
        ({"dataTransferPort": 0}, "#/dataTransferPort"),
        ({"name": "no spaces"}, "#/name"),
        ({"name": "x" * 64}, "#/name"),
        ({"agentVersion": "9.62"}, "#/agentVersion"),
        ({"ipAddresses": ["10.1.2"]}, "#/ipAddresses/0"),
        ({"hostId": ""}, "#/hostId"),
        ({"hostId": "a\x00b"}, "#/hostId"),
        ({"fqdn": "\u0130" * 255}, "#/fqdn"),
        ({"passphrase": None}, "#/passphrase"),
        ({"unknown": 1}, "#/unknown"),
    ],
)
async def test_bad_input_names_its_field(site: Site, changes: dict[str, Any], pointer: str) -> None:
    body = {**registration({"configurationServer": "cs-1", "passphrase": "very-secret"}, "ps-1"), **changes}
    answer = await site.agent_post(PS, body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert "very-secret" not in answer.text


@pytest.mark.parametrize(
    "changes",
    [
        {"passphrase": "wrong"},
        {"passphrase": "\u00df"},
        {"passphrase": "-"},
        {"configurationServer": "unknown"},
        {"configurationServer": "\u0130" * 255},
    ],
)
async def test_an_unknown_server_is_answered_like_a_wrong_passphrase(site: Site, changes: dict[str, Any]) -> None:
    await site.vault()
    body = registration(await site.configuration_server(), "ps-1", **changes)
    answer = await site.agent_post(PS, body)
    assert (answer.status_code, answer.json()["code"]) == (401, "passphrase-refused")
    wanted = body["configurationServer"]
    assert answer.json()["detail"].startswith(f"no configuration server '{wanted}' accepts this passphrase;")


async def test_a_passphrase_is_taken_with_the_spaces_and_capitals_people_add(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    typed = "\ufeff" + server["passphrase"].upper().replace("-", " ") + "\r\n"
    await site.process_server(server, passphrase=typed)


async def test_a_replaced_passphrase_lets_nobody_in_and_leaves_who_is_in(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    process_server = await site.process_server(server)
    answer = await site.client.post("/api/v1/vaults/contoso/configuration-servers/cs-1/passphrase")
    fresh = {**server, "passphrase": answer.json()["passphrase"]}
    assert (await site.agent_post(PS, registration(server, "ps-2"))).status_code == 401
    assert (await site.agent_post(PS, registration(fresh, "ps-2"))).status_code == 201
    assert (await site.beat(process_server)).status_code == 200


async def test_registration_keys_unknown_expired_revoked_and_of_another_vault(site: Site) -> None:
    await site.vault()
    await site.vault("fabrikam")
    key = await site.registration_key()

    async def register(with_key: str, name: str = "cs-1") -> Any:
        return await site.agent_post(CS, {"registrationKey": with_key, **machine(name)})

    for unknown in ("nonsense", "0" * 32 + ".x", key[:-1] + ("a" if key[-1] != "a" else "b"), key.upper()):
        answer = await register(unknown)
        assert (answer.status_code, answer.json()["code"]) == (401, "registration-key-refused")
        assert unknown not in answer.text
    assert (await register(await site.registration_key("fabrikam"))).json()["vault"] == "fabrikam"

    (listed,) = (await site.client.get("/api/v1/vaults/contoso/registration-keys")).json()["items"]
    assert (await register(key)).status_code == 201
    await site.client.delete(f"/api/v1/vaults/contoso/registration-keys/{listed['id']}")
    revoked = await register(key)
    assert (revoked.status_code, "was revoked" in revoked.json()["detail"]) == (401, True)

    fresh = await site.registration_key()
    site.manual_clock.advance(5 * 86400 - 1)
    assert (await register(fresh, "cs-2")).status_code == 201
    site.manual_clock.advance(1)
    expired = await register(fresh, "cs-2")
    assert (expired.status_code, "expired at" in expired.json()["detail"]) == (401, True)


async def test_a_clone_is_refused_while_the_first_is_connected_and_accepted_when_it_is_silent(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    process_server = await site.process_server(server)
    await site.beat(server)
    await site.beat(process_server)
    key = await site.registration_key()
    clones = [
        (CS, {"registrationKey": key, **machine("cs-1"), "instanceId": "clone"}),
        (PS, registration(server, "ps-1", instanceId="clone")),
    ]
    for path, clone in clones:
        answer = await site.agent_post(path, clone)
        assert (answer.status_code, answer.json()["code"]) == (409, "duplicate-identity")
        assert "instance-" in answer.json()["detail"]
        # Without an instance id nothing can be told apart, and what is known must not be forgotten.
        unnamed = {name: value for name, value in clone.items() if name != "instanceId"}
        assert (await site.agent_post(path, unnamed)).status_code == 200
        assert (await site.agent_post(path, clone)).status_code == 409
    await site.pass_time(905)
    for path, clone in clones:
        assert (await site.agent_post(path, clone)).status_code == 200


async def test_a_machine_has_one_role_and_one_configuration_server(site: Site) -> None:
    await site.vault()
    key = await site.registration_key()
    server = await site.configuration_server(key=key)
    other = await site.configuration_server(name="cs-2", key=key)
    await site.process_server(server)
    for path, body in (
        (PS, registration(server, "ps-9", hostId=machine("cs-1")["hostId"])),
        (PS, registration(other, "ps-9", hostId=machine("cs-1")["hostId"])),
        (PS, registration(other, "ps-1")),
        (CS, {"registrationKey": key, **machine("cs-9", machine("ps-1")["hostId"])}),
    ):
        answer = await site.agent_post(path, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "host-registered-elsewhere")
        assert body["hostId"] in answer.json()["detail"]


async def test_registering_again_under_another_name_keeps_the_name_and_says_so(site: Site) -> None:
    await site.vault()
    key = await site.registration_key()
    server = await site.configuration_server(key=key)
    await site.process_server(server)
    for path, body, name in (
        (CS, {"registrationKey": key, **machine("new-name", machine("cs-1")["hostId"])}, "cs-1"),
        (PS, registration(server, "new-name", hostId=machine("ps-1")["hostId"]), "ps-1"),
    ):
        answer = await site.agent_post(path, body)
        assert answer.status_code == 200
        assert answer.json()["name"] == name
        assert [notice["code"] for notice in answer.json()["notices"]] == ["name-kept"]


async def test_a_new_registration_does_not_disturb_the_running_agent_until_its_credential_is_used(
    site: Site, database: Database
) -> None:
    await site.vault()
    server = await site.configuration_server()
    old = await site.process_server(server)
    assert (await site.beat(old, 1)).status_code == 200
    new = (await site.agent_post(PS, registration(server, "ps-1"))).json()
    assert (await site.read_process_server())["connectionState"] == "Connected"
    assert (await site.beat(old, 2)).status_code == 200
    assert (await host_row(database, old)).sequence == 2
    assert (await site.beat(new, 1, "boot-2")).status_code == 200
    refused = await site.beat(old, 3)
    assert (refused.status_code, refused.json()["code"]) == (401, "credential-refused")
    assert (await host_row(database, new)).boot_id == "boot-2"


async def test_secrets_are_stored_as_hashes(site: Site, database: Database) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.beat(server)
    async with database.read() as session:
        stored = (await session.execute(select(ConfigurationServer.passphrase_hash))).scalar_one()
        host = (await session.execute(select(Host))).scalar_one()
    assert stored.startswith("$argon2id$v=19$")
    assert host.credential_hash is not None
    assert len(host.credential_hash) == 32
    assert not [event for event in await site.events() if server["passphrase"] in str(event)]
    assert not [event for event in await site.events() if server["credential"] in str(event)]


async def test_a_refused_registration_leaves_nothing(site: Site, database: Database) -> None:
    await site.vault()
    server = await site.configuration_server()
    before = await site.event_types()
    assert (await site.agent_post(PS, registration(server, "ps-1", agentVersion="9.99.1.1"))).status_code == 409
    assert (await site.agent_post(PS, registration(server, "cs-1", hostId="x"))).status_code == 409
    assert (await count(database, Host), await count(database, ProcessServer)) == (1, 1)
    assert await site.event_types() == before


async def test_a_machine_whose_server_was_deleted_registers_as_a_new_one(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.client.delete("/api/v1/vaults/contoso/configuration-servers/cs-1")
    again = await site.configuration_server()
    assert again["id"] != server["id"]
    assert again["passphrase"] != server["passphrase"]
    assert (await site.beat(again)).status_code == 200
