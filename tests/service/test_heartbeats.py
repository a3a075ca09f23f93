"""Heartbeats over HTTP: what is stored, what is answered, what is refused."""

import json
import sqlite3
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url, update

from app.core.db import Database
from app.models import Host
from tests.support.muster import TELEMETRY, VERSION, Site, registration
from tests.support.rows import host_row, host_row_id

BEAT = "/agent/v1/heartbeat"
GOOD: dict[str, Any] = {"bootId": "boot-1", "sequence": 1, "agentVersion": VERSION}


@pytest.fixture
async def server(site: Site) -> dict[str, Any]:
    """A registered configuration server."""
    await site.vault()
    return await site.configuration_server()


async def raw(site: Site, credential: str | None, content: bytes, **headers: str) -> Any:
    """A heartbeat with this body, whatever it is."""
    authorization = {"Authorization": f"Bearer {credential}" if credential is not None else ""}
    return await site.client.post(BEAT, content=content, headers={**authorization, **headers})


async def stored_sequence(url: str, registered: dict[str, Any]) -> int:
    """The sequence that a driver without any of our code reads."""
    identifier = host_row_id(registered)
    if url.startswith("sqlite"):
        with sqlite3.connect(make_url(url).database or "") as file:
            return int(file.execute("SELECT sequence FROM hosts WHERE id = ?", (identifier.hex,)).fetchone()[0])
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        return int(await connection.fetchval("SELECT sequence FROM hosts WHERE id = $1", identifier))
    finally:
        await connection.close()


async def test_the_answer_comes_after_the_commit(site: Site, server: dict[str, Any], database_url: str) -> None:
    for sequence in range(1, 8):
        answer = await site.beat(server, sequence, observedGeneration=1)
        assert answer.status_code == 200
        assert await stored_sequence(database_url, server) == sequence


async def test_the_answer_carries_time_interval_and_generation(site: Site, server: dict[str, Any]) -> None:
    await site.beat(server, observedGeneration=1)
    for sequence in range(2, 30):
        answer = (await site.beat(server, sequence, observedGeneration=1)).json()
        assert set(answer) == {"serverTime", "nextHeartbeatSeconds", "generation", "notices"}
        assert 27 <= answer["nextHeartbeatSeconds"] <= 30
    assert answer["serverTime"] == "2026-01-01T00:00:00.000Z"
    assert (answer["generation"], answer["notices"]) == (1, [])


async def test_the_desired_state_comes_only_while_the_agent_is_behind(
    site: Site, server: dict[str, Any], database: Database
) -> None:
    first = (await site.beat(server, 1)).json()
    assert first["desired"] == {
        "generation": 1,
        "maintenance": {"isEnabled": False, "until": None},
        "sourceMachines": [],
        "actions": [],
    }
    assert "desired" not in (await site.beat(server, 2, observedGeneration=1)).json()
    async with database.write() as session:
        await session.execute(update(Host).values(generation=2))
    behind = (await site.beat(server, 3, observedGeneration=1)).json()
    assert behind["generation"] == behind["desired"]["generation"] == 2
    assert "desired" not in (await site.beat(server, 4, observedGeneration=2)).json()


async def test_credentials_that_are_missing_malformed_unknown_or_wrong(site: Site, server: dict[str, Any]) -> None:
    identifier, _, secret = server["credential"].partition(".")
    other = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    good = json.dumps(GOOD).encode()
    for credential, code in (
        (None, "unauthenticated"),
        ("", "unauthenticated"),
        ("nonsense", "credential-refused"),
        (f"{identifier}.", "credential-refused"),
        (f"{identifier[:-1]}.{secret}", "credential-refused"),
        (f"{'z' * 32}.{secret}", "credential-refused"),
        (f"{identifier}.{other}", "credential-refused"),
        (f"{'0' * 32}.{secret}", "credential-refused"),
        ("an-admin-token-for-tests-only", "credential-refused"),
    ):
        answer = await raw(site, credential, good)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        assert secret not in answer.text
    basic = await site.client.post(BEAT, content=good, headers={"Authorization": f"Basic {server['credential']}"})
    assert basic.status_code == 401
    assert (await raw(site, server["credential"], good)).status_code == 200


async def test_a_retry_of_the_same_sequence_is_accepted(site: Site, server: dict[str, Any], database: Database) -> None:
    for sequence in (1, 1, 2, 2):
        assert (await site.beat(server, sequence, telemetry={"cpuPercentage": sequence})).status_code == 200
    assert (await host_row(database, server)).sequence == 2
    assert (await site.event_types()).count("configuration-server.connected") == 1


async def test_a_late_heartbeat_is_a_sign_of_life_but_overwrites_nothing(
    site: Site, server: dict[str, Any], database: Database
) -> None:
    await site.beat(server, 5, telemetry={"cpuPercentage": 50.0}, observedGeneration=1)
    site.manual_clock.advance(30)
    late = await site.beat(server, 3, telemetry={"cpuPercentage": 3.0}, agentVersion="9.61.7016.1")
    assert late.status_code == 200
    row = await host_row(database, server)
    assert (row.sequence, row.cpu_percentage, row.agent_version) == (5, 50.0, VERSION)
    assert row.last_heartbeat_at == site.clock.now()


async def test_a_new_boot_starts_over(site: Site, server: dict[str, Any], database: Database) -> None:
    await site.beat(server, 900)
    before = await site.event_types()
    assert (await site.beat(server, 1, "boot-2")).status_code == 200
    row = await host_row(database, server)
    assert (row.sequence, row.boot_id, row.previous_boot_id) == (1, "boot-2", "boot-1")
    assert await site.event_types() == before, "a restart is no event"


async def test_what_is_not_sent_becomes_unknown_and_never_zero(site: Site, server: dict[str, Any]) -> None:
    await site.beat(server, 1, telemetry=TELEMETRY, services={"tmansvc": "Running"}, ipAddresses=["10.0.0.9"])
    await site.beat(server, 2, telemetry={"cpuPercentage": 0, "throughputInBytes": 0})
    seen = await site.read_configuration_server()
    assert seen["telemetry"] == {**dict.fromkeys(TELEMETRY), "cpuPercentage": 0, "throughputInBytes": 0}
    assert seen["services"] == {}
    assert seen["ipAddresses"] == ["10.0.0.9"], "addresses that are left out are the known ones"
    await site.beat(server, 3)
    assert (await site.read_configuration_server())["telemetry"] == dict.fromkeys(TELEMETRY)


WRONG_FIELDS: list[tuple[dict[str, Any], str | None]] = [
    ({"bootId": ""}, "#/bootId"),
    ({"bootId": "x" * 65}, "#/bootId"),
    ({"bootId": "a b"}, "#/bootId"),
    ({"bootId": 1}, "#/bootId"),
    ({"sequence": 0}, "#/sequence"),
    ({"sequence": 2**53 + 1}, "#/sequence"),
    ({"sequence": 1.0}, "#/sequence"),
    ({"sequence": "1"}, "#/sequence"),
    ({"sequence": True}, "#/sequence"),
    ({"sequence": None}, "#/sequence"),
    ({"agentVersion": "9.62"}, "#/agentVersion"),
    ({"agentVersion": "9.62.7096.1\n"}, "#/agentVersion"),
    ({"agentVersion": "9.62.7096.1234567890"}, "#/agentVersion"),
    ({"agentVersion": "999999999.999999999.999999999.9999"}, "#/agentVersion"),
    ({"ipAddresses": "10.0.0.1"}, "#/ipAddresses"),
    ({"ipAddresses": ["10.0.0.1"] * 65}, "#/ipAddresses"),
    ({"ipAddresses": ["ten"]}, "#/ipAddresses/0"),
    ({"observedGeneration": -1}, "#/observedGeneration"),
    ({"telemetry": []}, "#/telemetry"),
    ({"telemetry": {"cpuPercentage": 100.1}}, "#/telemetry/cpuPercentage"),
    ({"telemetry": {"cpuPercentage": -0.1}}, "#/telemetry/cpuPercentage"),
    ({"telemetry": {"cpuPercentage": "50"}}, "#/telemetry/cpuPercentage"),
    ({"telemetry": {"totalMemoryInBytes": -1}}, "#/telemetry/totalMemoryInBytes"),
    ({"telemetry": {"totalMemoryInBytes": 2**60 + 1}}, "#/telemetry/totalMemoryInBytes"),
    ({"telemetry": {"availableSpaceInBytes": 1.5}}, "#/telemetry/availableSpaceInBytes"),
    ({"telemetry": {"throughput": 1}}, "#/telemetry/throughput"),
    ({"services": {"": "Running"}}, None),
    ({"services": {"tmansvc": ""}}, "#/services/tmansvc"),
    ({"services": {"tmansvc": "Run\nning"}}, "#/services/tmansvc"),
    ({"services": {"tmansvc": 1}}, "#/services/tmansvc"),
    ({"services": {f"s{number}": "Running" for number in range(65)}}, "#/services"),
    ({"services": {"a\x00b": "Running"}}, None),
    ({"serverTime": "2026-01-01T00:00:00Z"}, "#/serverTime"),
    ({"boot_id": "x"}, "#/boot_id"),
]


async def test_every_field_is_strict_and_bounded(site: Site, server: dict[str, Any], subtests: pytest.Subtests) -> None:
    for change, pointer in WRONG_FIELDS:
        with subtests.test(change=change, pointer=pointer):
            answer = await raw(site, server["credential"], json.dumps({**GOOD, **change}).encode())
            assert (answer.status_code, answer.json()["code"]) == (422, "validation-failed")
            pointers = [error["pointer"] for error in answer.json()["errors"]]
            assert pointers == [pointer] if pointer else len(pointers) == 1


@pytest.mark.parametrize("name", sorted(GOOD))
async def test_required_fields(site: Site, server: dict[str, Any], name: str) -> None:
    answer = await raw(site, server["credential"], json.dumps({**GOOD, name: None} | {}).encode())
    assert answer.status_code == 422
    missing = {key: value for key, value in GOOD.items() if key != name}
    answer = await raw(site, server["credential"], json.dumps(missing).encode())
    assert answer.json()["errors"] == [{"pointer": f"#/{name}", "detail": "is required"}]


async def test_the_largest_values_are_stored(site: Site, server: dict[str, Any], database: Database) -> None:
    services = {f"s{number}" + "x" * 60: "R" * 32 for number in range(64)}
    telemetry = {**dict.fromkeys(TELEMETRY, 2**60), "cpuPercentage": 100}
    for sequence in (2**53 - 1, 2**53):
        answer = await site.beat(
            server,
            sequence,
            "B" * 64,
            agentVersion="999999999.999999999.99999999.999",
            observedGeneration=2**53,
            telemetry=telemetry,
            services=services,
            ipAddresses=["ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"] * 64,
        )
        assert answer.status_code == 200, answer.text
    row = await host_row(database, server)
    assert (row.sequence, row.observed_generation) == (2**53, 2**53)
    assert row.services == services
    assert (await site.read_configuration_server())["telemetry"] == telemetry


MALFORMED: list[bytes] = [b"", b"{", b'{"bootId":', b"\xff\xfe", b"nonsense", b"[" * 5000, b"1" * 5000]


async def test_malformed_json(site: Site, server: dict[str, Any], subtests: pytest.Subtests) -> None:
    for content in MALFORMED:
        with subtests.test(content=content):
            answer = await raw(site, server["credential"], content, **{"X-Request-ID": "mine"})
            assert (answer.status_code, answer.json()["code"]) == (400, "malformed-json")
            assert answer.json()["requestId"] == answer.headers["X-Request-ID"] == "mine"


@pytest.mark.parametrize("content", [b"[]", b"1", b"null", b'"x"'])
async def test_json_that_is_no_object(site: Site, server: dict[str, Any], content: bytes) -> None:
    answer = await raw(site, server["credential"], content)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#")


async def test_a_body_of_two_megabytes_is_refused(site: Site, server: dict[str, Any]) -> None:
    answer = await raw(site, server["credential"], b" " * 2**21, **{"X-Request-ID": "mine"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert answer.json()["requestId"] == answer.headers["X-Request-ID"] == "mine"
    assert answer.json()["instance"] == BEAT


async def test_other_methods_are_told_what_there_is(site: Site) -> None:
    answer = await site.client.get(BEAT)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


async def test_another_version_is_one_event_for_each_server_of_the_host(site: Site, server: dict[str, Any]) -> None:
    await site.beat(server, 1, agentVersion="9.61.7016.1")
    await site.beat(server, 2, agentVersion="9.61.7016.1")
    upgrades = [event for event in await site.events() if event["type"].endswith(".upgraded")]
    assert [event["type"] for event in upgrades] == ["configuration-server.upgraded", "process-server.upgraded"]
    assert upgrades[0]["data"] == {"previousVersion": VERSION, "agentVersion": "9.61.7016.1"}
    assert (await site.read_configuration_server())["agentVersion"] == "9.61.7016.1"


async def test_a_version_with_leading_zeros_is_the_same_version(site: Site, server: dict[str, Any]) -> None:
    for sequence in (1, 2):
        assert (await site.beat(server, sequence, agentVersion="09.062.7096.01")).status_code == 200
    assert not [kind for kind in await site.event_types() if kind.endswith(".upgraded")]
    assert (await site.read_configuration_server())["agentVersion"] == VERSION


async def test_two_machines_with_one_identity_are_said_once_an_hour(site: Site, server: dict[str, Any]) -> None:
    process_server = await site.process_server(server)

    async def alternate(times: int) -> int:
        for number in range(times):
            site.manual_clock.advance(10)
            assert (await site.beat(process_server, number + 1, f"boot-{number % 2}")).status_code == 200
        return (await site.event_types()).count("process-server.duplicate-identity")

    assert await alternate(2) == 0, "a restart"
    assert await alternate(20) == 1
    site.manual_clock.advance(3600)
    assert await alternate(20) == 2
    (first, _) = [event for event in await site.events() if event["type"] == "process-server.duplicate-identity"]
    assert first["severity"] == "Warning"
    assert sorted(first["data"]["bootIds"]) == ["boot-0", "boot-1"]


async def test_after_deletion_the_holder_of_a_credential_learns_when_by_whom_and_why(
    site: Site, server: dict[str, Any]
) -> None:
    process_server = await site.process_server(server)
    unused = (await site.agent_post("/agent/v1/process-servers/register", registration(server, "ps-1"))).json()
    for registered in (server, process_server):
        assert (await site.beat(registered)).status_code == 200
    renewed = (await site.agent_post("/agent/v1/process-servers/register", registration(server, "ps-1"))).json()
    site.manual_clock.advance(10)
    path = "/api/v1/vaults/contoso/configuration-servers/cs-1?force=true"
    assert (await site.client.delete(path)).status_code == 204
    for credential, name in ((server, "cs-1"), (process_server, "ps-1"), (renewed, "ps-1")):
        answer = await site.beat(credential, 2)
        assert (answer.status_code, answer.json()["code"]) == (410, "purged")
        assert answer.json()["purgedAt"] == "2026-01-01T00:00:10.000Z"
        assert answer.json()["purgedBy"]
        assert answer.json()["reason"] == "configuration server cs-1 was deleted by force"
        assert f"'{name}'" in answer.json()["detail"]
        headers = {"Authorization": f"Bearer {credential['credential']}"}
        assert (await site.client.get("/agent/v1/desired-state", headers=headers)).status_code == 410
    guess = server["credential"].partition(".")[0] + ".guess"
    for never_valid_at_the_end in (guess, unused):
        answer = await site.beat(never_valid_at_the_end, 2)
        assert (answer.status_code, "purgedAt" in answer.json()) == (401, False)


async def test_the_desired_state_can_be_read_with_any_valid_credential(site: Site, server: dict[str, Any]) -> None:
    async def read(credential: str) -> int:
        headers = {"Authorization": f"Bearer {credential}"}
        return int((await site.client.get("/agent/v1/desired-state", headers=headers)).status_code)

    assert await read(server["credential"]) == 200
    await site.beat(server)
    assert await read(server["credential"]) == 200
    assert await read(server["credential"] + "x") == 401
    assert await read("nonsense") == 401
    assert await read("0" * 32 + ".x") == 401
