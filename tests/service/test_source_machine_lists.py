"""Lists of source machines: filters, orders, and pages that an index leads straight to."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text, update

from app.core.db import Database
from app.core.wire import new_id
from app.models import SourceMachine
from tests.support.machines import GB, LARGE, MACHINES, SMALL, Servers, connected_servers
from tests.support.muster import Site, problem

ACROSS = "/api/v1/vaults/contoso/source-machines"
VERSIONS = ("9.62.7096.1", "9.60.6956.1", "9.50.1.1", None)
ORDERS = [sign + name for name in ("name", "createdAt", "churn") for sign in ("", "-")]


@pytest.fixture
async def servers(site: Site) -> Servers:
    """Two sites, `cs-1` with `ps-1` and `ps-2`, `cs-2` with `ps-1` and `ps-9`."""
    found = await connected_servers(site, ps_1=SMALL, ps_2=LARGE)
    found["cs-2"] = await site.configuration_server(name="cs-2")
    found["twin"] = await site.process_server(found["cs-2"], "ps-1", hostId="twin", hardware=LARGE)
    found["ps-9"] = await site.process_server(found["cs-2"], "ps-9", hardware=LARGE)
    return found


async def seed(site: Site, servers: Servers, count: int, churn_step: int = 1) -> list[dict[str, Any]]:
    """Machines over the four process servers, of every system and version; what the lists should find in them."""
    places = [("cs-1", "ps-1"), ("cs-1", "ps-2"), ("cs-2", "twin"), ("cs-2", "ps-9")]
    vault = uuid.UUID((await site.client.get("/api/v1/vaults/contoso")).json()["id"])
    now = site.clock.now()
    rows = []
    for number in range(count):
        server, carrier = places[number % 4]
        rows.append(
            {
                "id": new_id(),
                "vault_id": vault,
                "configuration_server_id": uuid.UUID(servers[server]["id"]),
                "process_server_id": uuid.UUID(servers[carrier]["id"]),
                "name": f"m-{(number * 7919) % count // 2:06}-{number % 2 if server == 'cs-1' else 0}",
                "friendly_name": f"Friend {number}",
                "churn_bytes_per_day": (number * 31 % 50) // churn_step * churn_step * GB,
                "disks": [],
                "os_type": (None, "Windows", "Linux")[number % 3],
                "agent_version": VERSIONS[number % 5 % 4],
                "last_reboot_agent_version": None,
                "created_at": now + timedelta(seconds=number),
                "updated_at": now,
                "revision": 1,
            }
        )
    unique = {(row["configuration_server_id"], row["name"]): row for row in rows}
    database: Database = site.app.state.database
    async with database.write() as session:
        await session.execute(insert(SourceMachine), list(unique.values()))
    async with database.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE"))
    return list(unique.values())


def ids(rows: list[dict[str, Any]]) -> list[str]:
    """The ids of rows, or of listed machines."""
    return [str(row["id"]) for row in rows]


async def test_a_vaults_machines_are_listed_in_every_order(site: Site, servers: Servers) -> None:
    rows = await seed(site, servers, 200)
    keys = {
        "name": lambda row: (row["name"], row["id"]),
        "createdAt": lambda row: row["id"],
        "churn": lambda row: (row["churn_bytes_per_day"], row["id"]),
    }
    for order in ORDERS:
        wanted = ids(sorted(rows, key=keys[order.removeprefix("-")], reverse=order.startswith("-")))
        assert ids(await site.walk(ACROSS, orderBy=order, limit=7)) == wanted, order
    first = (await site.client.get(ACROSS)).json()["items"][0]
    assert {first["vault"], first["configurationServer"]} <= {"contoso", "cs-1", "cs-2"}
    alone = f"/api/v1/vaults/contoso/configuration-servers/{first['configurationServer']}/source-machines"
    assert (await site.client.get(f"{alone}/{first['name']}")).json() == first


async def test_filters_find_what_they_should(site: Site, servers: Servers, subtests: pytest.Subtests) -> None:
    # Churn in steps of 7 GB: many machines of a site have the same, and a page ends between them.
    rows = await seed(site, servers, 60, churn_step=7)
    here = [row for row in rows if str(row["configuration_server_id"]) == servers["cs-1"]["id"]]
    supported = ("9.62.7096.1", "9.60.6956.1")
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"configurationServer": "cs-1"}, lambda row: row in here),
        ({"configurationServer": "cs-9"}, lambda _: False),
        ({"processServer": "ps-2"}, lambda row: str(row["process_server_id"]) == servers["ps-2"]["id"]),
        ({"processServer": "ps-0"}, lambda _: False),
        (
            {"processServer": "ps-1", "configurationServer": "CS-2"},
            lambda row: str(row["process_server_id"]) == servers["twin"]["id"],
        ),
        ({"osType": "Windows"}, lambda row: row["os_type"] == "Windows"),
        ({"versionStatus": "Supported"}, lambda row: row["agent_version"] in supported),
        ({"versionStatus": "NotSupported"}, lambda row: row["agent_version"] == "9.50.1.1"),
        ({"versionStatus": "UpdateRequired"}, lambda _: False),
        (
            {"versionStatus": "Supported", "osType": "Linux", "q": "friend 1"},
            lambda row: (
                row["agent_version"] in supported
                and row["os_type"] == "Linux"
                and row["friendly_name"].startswith("Friend 1")
            ),
        ),
        ({"q": "M-00001"}, lambda row: "m-00001" in row["name"]),
        ({"q": "%"}, lambda _: False),
        (
            {"minimumChurnInBytesPerDay": 10 * GB, "maximumChurnInBytesPerDay": 20 * GB},
            lambda row: 10 * GB <= row["churn_bytes_per_day"] <= 20 * GB,
        ),
        (
            {"minimumChurnInBytesPerDay": 49 * GB, "osType": "Linux", "configurationServer": "cs-1"},
            lambda row: row in here and row["churn_bytes_per_day"] >= 49 * GB and row["os_type"] == "Linux",
        ),
    ]
    for order in ORDERS:
        with subtests.test(order=order):
            everything = ids(await site.walk(ACROSS, orderBy=order))
            for query, matches in cases:
                wanted = {str(row["id"]) for row in rows if matches(row)}
                found = ids(await site.walk(ACROSS, orderBy=order, limit=7, **query))
                assert set(found) == wanted, query
                assert found == [entry for entry in everything if entry in wanted], query
                if "configurationServer" not in query and "processServer" not in query:
                    nested = ids(await site.walk(MACHINES, orderBy=order, limit=7, **query))
                    assert nested == [entry for entry in found if entry in set(ids(here))], query


async def test_a_name_that_several_process_servers_have_is_ambiguous(site: Site, servers: Servers) -> None:
    document = problem(await site.client.get(ACROSS, params={"processServer": "ps-1"}), 409, "name-ambiguous")
    assert [entry["configurationServer"] for entry in document["candidates"]] == ["cs-1", "cs-2"]
    answer = await site.client.get(ACROSS, params={"processServer": document["candidates"][1]["id"]})
    assert answer.status_code == 200


async def test_what_is_asked_for_must_make_sense(site: Site, servers: Servers) -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"orderBy": "size"},
        {"osType": "Plan9"},
        {"versionStatus": "Fresh"},
        {"minimumChurnInBytesPerDay": -1},
    )
    for query in wrong:
        problem(await site.client.get(ACROSS, params=query), 422, "validation-failed")
    cursor = (await site.client.get(ACROSS, params={"limit": 1})).json()["nextCursor"]
    assert cursor is None
    await seed(site, servers, 8)
    cursor = (await site.client.get(ACROSS, params={"limit": 1})).json()["nextCursor"]
    problem(await site.client.get(MACHINES, params={"cursor": cursor}), 400, "cursor-unreadable")
    problem(await site.client.get(ACROSS, params={"cursor": cursor, "orderBy": "churn"}), 400, "cursor-unreadable")
    async with await site.caller("reader", "contoso") as reader:
        assert (await reader.get(ACROSS)).status_code == 200
    await site.vault("other")
    async with await site.caller("reader", "other") as outsider:
        problem(await outsider.get(ACROSS), 404, "vault-not-found")


async def test_a_walk_over_changing_machines_neither_repeats_nor_skips(site: Site, servers: Servers) -> None:
    rows = await seed(site, servers, 60)
    database: Database = site.app.state.database
    for order in ORDERS:
        seen: list[str] = []
        cursor, gone = None, set()
        while True:
            query: dict[str, Any] = {"limit": 5, "orderBy": order, **({"cursor": cursor} if cursor else {})}
            page = (await site.client.get(ACROSS, params=query)).json()
            seen.extend(ids(page["items"]))
            cursor = page["nextCursor"]
            if cursor is None:
                break
            # The very row that the cursor stands at goes.
            gone.add(seen[-1])
            async with database.write() as session:
                await session.delete(await session.get_one(SourceMachine, uuid.UUID(seen[-1])))
        assert len(seen) == len(set(seen)), order
        assert set(seen) == set(ids(rows)), order
        async with database.write() as session:
            await session.execute(insert(SourceMachine), [row for row in rows if str(row["id"]) in gone])


@contextmanager
def statements_on_machines(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """What is asked of the machines' table meanwhile: the statements that have an order, with their parameters."""
    found: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM source_machines" in statement:
            found.append((statement, parameters))

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


async def plans(database: Database, statements: list[tuple[str, Any]]) -> list[str]:
    """How the database goes about each statement."""
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    found = []
    async with database.read() as session:
        connection = await session.connection()
        for statement, parameters in statements:
            rows = (await connection.exec_driver_sql(explain + statement, tuple(parameters))).all()
            found.append("\n".join(str(row[-1]) for row in rows))
    return found


SERVED: list[dict[str, Any]] = [
    *({"orderBy": order, **scope} for order in ORDERS for scope in ({}, {"configurationServer": "cs-1"})),
    {"processServer": "ps-2"},
    {"processServer": "ps-2", "orderBy": "-name"},
    {"osType": "Linux"},
    {"osType": "Linux", "orderBy": "-name"},
    {"versionStatus": "NotSupported"},
    {"versionStatus": "Supported"},
    {"versionStatus": "Supported", "osType": "Linux", "orderBy": "-name"},
    {"minimumChurnInBytesPerDay": 10 * GB, "orderBy": "churn"},
    {"minimumChurnInBytesPerDay": 10 * GB, "maximumChurnInBytesPerDay": 20 * GB, "orderBy": "-churn"},
    {"osType": "Linux", "orderBy": "createdAt"},
    {"osType": "Linux", "orderBy": "churn"},
    {"minimumChurnInBytesPerDay": 10 * GB, "maximumChurnInBytesPerDay": 20 * GB},
]


async def test_an_index_leads_to_every_page(site: Site, servers: Servers) -> None:
    """No plan reads the whole table, and none sorts more than a page's worth of each version."""
    await seed(site, servers, 6_000)
    database: Database = site.app.state.database
    for query in SERVED:
        first = (await site.client.get(ACROSS, params={**query, "limit": 3})).json()
        with statements_on_machines(database) as statements:
            await site.client.get(ACROSS, params={**query, "limit": 3, "cursor": first["nextCursor"]})
        assert statements, query
        for plan in await plans(database, statements):
            where = f"{query}\n{plan}"
            if database.is_sqlite:
                assert "SCAN source_machines" not in plan, where
                assert "INDEX" in plan, where
                is_sorted = "USE TEMP B-TREE FOR ORDER BY" in plan
            else:
                assert "Seq Scan" not in plan, where
                assert "Index" in plan, where
                is_sorted = "Sort" in plan
            assert not is_sorted or "versionStatus" in query, where


async def test_more_versions_than_a_database_unites_are_listed_all_the_same(site: Site, servers: Servers) -> None:
    rows = await seed(site, servers, 600)
    database: Database = site.app.state.database
    async with database.write() as session:
        for number, row in enumerate(rows):
            version = f"9.1.{number}.1"
            machine = update(SourceMachine).where(SourceMachine.id == row["id"])
            await session.execute(machine.values(agent_version=version))
    listed = await site.walk(ACROSS, versionStatus="NotSupported", limit=500)
    assert len(listed) == 600
