"""A running process server whose version is above its configuration server's: marked, alerted, still connected."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect

from app.core.clock import ManualClock
from app.core.db import Database
from app.models import Host, ProcessServer
from app.process_servers.queries import lock_configuration_server
from tests.support.muster import Site, machine, new_site, problem, registration
from tests.support.remembered import remembered
from tests.support.rows import host_row_id

CODE = "version-above-configuration-server"
OLD, VERSION, NEW = "9.61.7016.1", "9.62.7096.1", "9.63.1.1"
ROUNDS = 22
RAISED, CLEARED = "process-server.alert-raised", "process-server.alert-cleared"


async def alerts(site: Site, name: str = "ps-1") -> list[tuple[str, str, str]]:
    """The transitions of a process server: what, its version, the configuration server's."""
    return [
        (event["type"], event["data"]["agentVersion"], event["data"]["configurationServerVersion"])
        for event in await site.events()
        if event["type"] in {RAISED, CLEARED} and event["resource"]["name"] == name
    ]


async def beat(site: Site, registered: dict[str, Any], sequence: int, version: str) -> None:
    answer = await site.beat(registered, sequence, agentVersion=version)
    assert answer.status_code == 200, answer.text


@remembered
async def pair(site: Site, /, name: str = "ps-1") -> tuple[dict[str, Any], dict[str, Any]]:
    """A connected configuration server and process server of one version."""
    await site.vault()
    server = await site.configuration_server()
    process_server = await site.process_server(server, name)
    await beat(site, server, 1, VERSION)
    await beat(site, process_server, 1, VERSION)
    return server, process_server


async def codes(site: Site, name: str = "ps-1") -> list[str]:
    return [alert["code"] for alert in (await site.read_process_server(name))["healthErrors"]]


async def test_an_upgrade_above_the_configuration_server_raises_one_alert(site: Site) -> None:
    _, process_server = await pair(site)
    site.manual_clock.advance(30)
    await beat(site, process_server, 2, NEW)
    since = site.clock.now()
    view = await site.read_process_server()
    assert (view["connectionState"], view["health"], view["agentVersion"]) == ("Connected", "Warning", NEW)
    (alert,) = view["healthErrors"]
    assert (alert["code"], alert["severity"]) == (CODE, "Warning")
    assert alert["since"] == since.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert (alert["value"], alert["threshold"]) == (None, None)
    assert NEW in str(alert["possibleCauses"])
    assert VERSION in str(alert["possibleCauses"])
    for words in (NEW, VERSION, "no new machines"):
        assert words in alert["recommendedAction"]
    for sequence in range(3, 6):
        site.manual_clock.advance(30)
        await beat(site, process_server, sequence, NEW)
    assert await alerts(site) == [(RAISED, NEW, VERSION)]
    event = next(event for event in await site.events() if event["type"] == RAISED)
    assert (event["severity"], event["actor"], event["data"]["code"]) == ("Warning", "monitor", CODE)
    assert NEW in event["message"]
    assert VERSION in event["message"]
    server = await site.read_configuration_server()
    assert (server["health"], server["healthErrors"]) == ("Warning", []), "the worst of its site, and none of its own"


async def test_the_health_filter_and_the_summary_know_it(site: Site) -> None:
    server, process_server = await pair(site)
    other = await site.process_server(server, "ps-2")
    await beat(site, other, 1, VERSION)
    await beat(site, process_server, 2, NEW)
    answer = await site.client.get("/api/v1/vaults/contoso/process-servers", params={"health": "Warning"})
    assert [entry["name"] for entry in answer.json()["items"]] == ["ps-1"]
    summary = (await site.client.get("/api/v1/vaults/contoso/summary")).json()
    assert summary["processServers"]["byHealth"] == {"Healthy": 2, "Warning": 1}


async def test_it_ends_when_the_process_server_comes_back_down(site: Site) -> None:
    _, process_server = await pair(site)
    await beat(site, process_server, 2, NEW)
    await beat(site, process_server, 3, VERSION)
    view = await site.read_process_server()
    assert (view["health"], view["healthErrors"]) == ("Healthy", [])
    assert await alerts(site) == [(RAISED, NEW, VERSION), (CLEARED, VERSION, VERSION)]


async def test_the_configuration_servers_upgrade_ends_it_for_all_and_its_fall_raises_it_for_all(site: Site) -> None:
    server, first = await pair(site)
    second = await site.process_server(server, "ps-2")
    third = await site.process_server(server, "ps-3", agentVersion=OLD)
    await beat(site, second, 1, VERSION)
    await beat(site, third, 1, OLD)
    for process_server in (first, second):
        await beat(site, process_server, 2, NEW)
    await beat(site, server, 2, NEW)
    for name in ("ps-1", "ps-2", "ps-3"):
        assert (await site.read_process_server(name))["health"] == "Healthy"
    assert await alerts(site, "ps-1") == await alerts(site, "ps-2") == [(RAISED, NEW, VERSION), (CLEARED, NEW, NEW)]
    await beat(site, server, 3, VERSION)
    for name in ("ps-1", "ps-2"):
        assert (await site.read_process_server(name))["health"] == "Warning"
        assert await codes(site, name) == [CODE]
    assert await alerts(site, "ps-3") == []
    assert await alerts(site, "cs-1") == []
    assert len(await alerts(site, "ps-1")) == len(await alerts(site, "ps-2")) == 3


async def test_an_alert_outlives_silence_and_the_return_without_another_event(site: Site) -> None:
    _, process_server = await pair(site)
    await beat(site, process_server, 2, NEW)
    await site.pass_time(1000)
    view = await site.read_process_server()
    assert (view["connectionState"], view["health"]) == ("Disconnected", "Critical")
    assert await codes(site) == ["heartbeat-missing", CODE]
    await beat(site, process_server, 3, NEW)
    view = await site.read_process_server()
    assert (view["connectionState"], view["health"]) == ("Connected", "Warning")
    assert await codes(site) == [CODE]
    assert await alerts(site) == [(RAISED, NEW, VERSION)]


async def test_a_silent_process_server_is_judged_too_when_its_configuration_server_moves(site: Site) -> None:
    server, process_server = await pair(site)
    await beat(site, process_server, 2, NEW)
    await site.pass_time(1000)
    await beat(site, server, 2, NEW)
    view = await site.read_process_server()
    assert (view["connectionState"], view["health"]) == ("Disconnected", "Critical")
    assert await codes(site) == ["heartbeat-missing"]
    assert await alerts(site) == [(RAISED, NEW, VERSION), (CLEARED, NEW, NEW)]
    await beat(site, process_server, 3, NEW)
    assert (await site.read_process_server())["health"] == "Healthy"


async def test_a_return_with_a_version_above_is_one_transition(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    process_server = await site.process_server(server)
    await beat(site, process_server, 1, NEW)
    assert (await site.read_process_server())["health"] == "Warning"
    types = [event["type"] for event in await site.events() if event["resource"]["name"] == "ps-1"]
    assert types == [
        "process-server.registered", "process-server.connected", "process-server.upgraded", RAISED,
    ]  # fmt: skip


async def test_a_late_heartbeat_tells_nothing_of_versions(site: Site) -> None:
    _, process_server = await pair(site)
    await beat(site, process_server, 5, VERSION)
    await beat(site, process_server, 4, NEW)
    assert await alerts(site) == []
    assert (await site.read_process_server())["health"] == "Healthy"


async def test_registering_again_is_judged(site: Site) -> None:
    server, process_server = await pair(site)
    await beat(site, process_server, 2, NEW)
    refused = await site.agent_post(
        "/agent/v1/process-servers/register", registration(server, "ps-1", agentVersion=NEW)
    )
    problem(refused, 409, CODE)
    assert await codes(site) == [CODE]
    again = await site.agent_post("/agent/v1/process-servers/register", registration(server, "ps-1"))
    assert again.status_code == 200, again.text
    view = await site.read_process_server()
    assert (view["health"], view["healthErrors"]) == ("Healthy", [])
    assert await alerts(site) == [(RAISED, NEW, VERSION), (CLEARED, VERSION, VERSION)]


async def test_a_configuration_server_that_registers_again_with_another_version_judges_all_of_its_own(
    site: Site,
) -> None:
    await pair(site)
    key = await site.registration_key()
    body = {"registrationKey": key, **machine("cs-1")}
    for version, expected in ((OLD, "Warning"), (OLD, "Warning"), (VERSION, "Healthy")):
        answer = await site.agent_post("/agent/v1/configuration-servers/register", {**body, "agentVersion": version})
        assert answer.status_code == 200, answer.text
        assert (await site.read_process_server())["health"] == expected
    assert await alerts(site) == [(RAISED, VERSION, OLD), (CLEARED, VERSION, VERSION)]


async def test_another_sites_process_servers_are_left_alone(site: Site) -> None:
    server, _ = await pair(site)
    elsewhere = await site.configuration_server(name="cs-2", agentVersion=NEW)
    other = await site.process_server(elsewhere, "ps-2", agentVersion=NEW)
    await beat(site, other, 1, NEW)
    await beat(site, server, 2, OLD)
    assert (await site.read_process_server("ps-2"))["health"] == "Healthy"
    assert await alerts(site, "ps-2") == []


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_upgrades_at_once_leave_mark_health_and_events_in_agreement(
    site: Site, database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    """Through a replica each: neither may judge by what the other is about to change."""
    async with new_site(database_url, clock, tmp_path) as replica:
        server, first = await pair(site)
        process_servers = [first]
        for number in range(2, 6):
            process_servers.append(await site.process_server(server, f"ps-{number}"))
            await beat(site, process_servers[-1], 1, VERSION)
        version = VERSION
        for round_ in range(2, ROUNDS):
            version = NEW if version == VERSION else VERSION
            beats = [beat(replica, process_server, round_, version) for process_server in process_servers]
            await asyncio.gather(*beats[:2], beat(site, server, round_, version), *beats[2:])
            for number in range(1, 6):
                view = await site.read_process_server(f"ps-{number}")
                assert (view["agentVersion"], view["health"], view["healthErrors"]) == (version, "Healthy", [])
    for number in range(1, 6):
        found = [kind for kind, _, _ in await alerts(site, f"ps-{number}")]
        assert found == [RAISED, CLEARED] * (len(found) // 2)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_newcomer_is_judged_by_the_version_that_its_configuration_server_falls_to(
    site: Site, database: Database
) -> None:
    """A registration that has read the version holds its server until the newcomer is there to be marked."""
    server, known = await pair(site)
    now = site.clock.now()
    async with database.write() as session:
        row = await lock_configuration_server(session, uuid.UUID(server["id"]))
        assert row.agent_version == VERSION
        falls = asyncio.create_task(beat(site, server, 2, OLD))
        await asyncio.sleep(0.3)
        assert not falls.done()
        host = await session.get_one(Host, host_row_id(known))
        twin = Host(
            **{column.key: getattr(host, column.key) for column in inspect(Host).column_attrs if column.key != "id"}
            | {"host_id": "newcomer"}
        )
        session.add(twin)
        await session.flush()
        session.add(
            ProcessServer(
                vault_id=host.vault_id,
                configuration_server_id=row.ConfigurationServer.id,
                host_row_id=twin.id,
                kind="scaleOut",
                name="newcomer",
                friendly_name="newcomer",
                created_at=now,
                updated_at=now,
            )
        )
    await falls
    assert await codes(site, "newcomer") == await codes(site) == [CODE]
