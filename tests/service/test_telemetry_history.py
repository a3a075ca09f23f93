"""Telemetry history over the API: steps, gaps, edges, whose it is, what it costs."""

import asyncio
import random
import uuid
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete, event, insert, text

from app.connection.rules import bucket_of
from app.core.db import Database
from app.core.wire import new_id, rfc3339
from app.models import METRICS, TelemetryBucket
from app.telemetry import queries
from app.telemetry.queries import BUCKETS, HOSTS, steps_of
from app.telemetry.rules import Sample, Window
from tests.support.muster import Site, pointers, problem, registration
from tests.support.plans import plans_of, scanned
from tests.support.rows import count, host_row_id
from tests.support.telemetry import START, Statistics, new_hosts, put, put_buckets, statistics_of

VAULT = "/api/v1/vaults/contoso"
IN_VAULT = f"{VAULT}/process-servers/ps-1/telemetry"
NESTED = f"{VAULT}/configuration-servers/cs-1/process-servers/ps-1/telemetry"
OF_SERVER = f"{VAULT}/configuration-servers/cs-1/telemetry"
ON_THE_WIRE = (
    "cpuPercentage",
    "totalMemoryInBytes",
    "availableMemoryInBytes",
    "totalSpaceInBytes",
    "availableSpaceInBytes",
    "throughputInBytes",
    "throughputUploadPendingDataInBytes",
)
HOUR = 3_600


def at(seconds: float) -> str:
    return rfc3339(START + timedelta(seconds=seconds))


async def servers(site: Site) -> tuple[dict[str, Any], dict[str, Any]]:
    """A configuration server and a process server, neither of which has sent a heartbeat."""
    await site.vault()
    server = await site.configuration_server()
    return server, await site.process_server(server)


async def read(site: Site, path: str = IN_VAULT, **query: Any) -> dict[str, Any]:
    """A history as the API shows it; `since` stands for `from`."""
    if "since" in query:
        query["from"] = query.pop("since")
    answer = await site.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def on_the_wire(samples: list[Sample]) -> dict[str, Any]:
    """The metrics of a point by brute force."""
    found: dict[str, Any] = {}
    for name, (number, total, least, greatest) in zip(ON_THE_WIRE, statistics_of(samples).values(), strict=True):
        found[name] = (
            {"min": least, "mean": pytest.approx(total / number), "max": greatest, "count": number} if number else None
        )
    return found


async def test_the_last_day_by_default_with_the_bucket_that_is_being_filled(site: Site, database: Database) -> None:
    _, agent = await servers(site)
    said = [Sample(12.5, 8, 4, 100, 50, 7, 9), Sample(81.0, 8, 2, 100, 40, 9, 0)]
    await put(database, host_row_id(agent), [(0, said[0]), (30, said[1]), (300, said[0])])
    site.manual_clock.advance(400)
    found = await read(site)
    assert (found["from"], found["to"], found["stepSeconds"]) == (at(400 - 24 * HOUR), at(400), 300)
    assert found["points"] == [
        {"start": at(0), "metrics": on_the_wire(said)},
        {"start": at(300), "metrics": on_the_wire(said[:1])},
    ]
    assert found["points"][0]["metrics"]["cpuPercentage"] == {"min": 12.5, "mean": 46.75, "max": 81.0, "count": 2}


async def test_a_server_that_sent_nothing_has_no_points(site: Site) -> None:
    await servers(site)
    assert (await read(site))["points"] == []


async def test_gaps_are_left_out_and_a_missing_metric_is_null(site: Site, database: Database) -> None:
    _, agent = await servers(site)
    said = [Sample(cpu_percentage=0.0), Sample(pending_bytes=0), Sample(cpu_percentage=4.0)]
    await put(database, host_row_id(agent), [(0, said[0]), (2 * HOUR, said[1]), (2 * HOUR + 600, said[2])])
    site.manual_clock.advance(3 * HOUR)
    points = (await read(site))["points"]
    assert [point["start"] for point in points] == [at(0), at(2 * HOUR), at(2 * HOUR + 600)]
    assert [point["metrics"] for point in points] == [on_the_wire([one]) for one in said]
    assert points[0]["metrics"]["cpuPercentage"]["mean"] == 0.0
    assert points[0]["metrics"]["throughputUploadPendingDataInBytes"] is None
    hourly = (await read(site, stepSeconds=HOUR))["points"]
    assert [point["start"] for point in hourly] == [at(0), at(2 * HOUR)], "the hour without a heartbeat is not there"
    assert hourly[1]["metrics"]["cpuPercentage"]["count"] == 1


async def test_an_empty_bucket_that_is_being_filled_is_no_point(site: Site, database: Database) -> None:
    _, agent = await servers(site)
    await put(database, host_row_id(agent), [(0, Sample())])
    site.manual_clock.advance(60)
    assert (await read(site))["points"] == []


async def test_coarser_steps_agree_with_brute_force(site: Site, database: Database) -> None:
    _, agent = await servers(site)
    chance = random.Random(4)
    seconds = sorted(chance.uniform(0, 3 * 24 * HOUR) for _ in range(250))
    samples = [
        (moment, Sample(*(chance.choice([None, chance.randrange(2**40)]) for _ in METRICS))) for moment in seconds
    ]
    await put(database, host_row_id(agent), samples)
    site.manual_clock.advance(3 * 24 * HOUR)
    for step in (300, 600, 1_500, HOUR, 7 * HOUR, 24 * HOUR):
        by_step: dict[int, list[Sample]] = defaultdict(list)
        for moment, one in samples:
            # A heartbeat without any metric is no value of anything.
            if any(value is not None for value in one):
                by_step[int((START.timestamp() + moment) // step)].append(one)
        found = await read(site, since=at(-1), to=at(4 * 24 * HOUR), stepSeconds=step)
        assert found["points"] == [
            {"start": at(number * step - START.timestamp()), "metrics": on_the_wire(by_step[number])}
            for number in sorted(by_step)
        ], step


async def test_the_range_takes_the_buckets_it_touches(site: Site, database: Database) -> None:
    _, agent = await servers(site)
    await put(database, host_row_id(agent), [(start, Sample(start)) for start in range(0, 1_500, 300)])
    site.manual_clock.advance(1_600)

    async def starts(since: float, until: float, step: int = 300) -> list[str]:
        return [
            point["start"] for point in (await read(site, since=at(since), to=at(until), stepSeconds=step))["points"]
        ]

    assert await starts(300, 900) == [at(300), at(600)]
    assert await starts(299.999, 900.001) == [at(0), at(300), at(600), at(900)]
    assert await starts(301, 302) == [at(300)]
    # A whole hour's step holds only what the range touches of it.
    (edge,) = (await read(site, since=at(600), to=at(1_200), stepSeconds=HOUR))["points"]
    assert (edge["start"], edge["metrics"]["cpuPercentage"]) == (
        at(0),
        {"min": 600.0, "mean": 750.0, "max": 900.0, "count": 2},
    )


async def test_a_bucket_that_came_back_after_a_correction_of_the_clock_is_one_point(
    site: Site, database: Database
) -> None:
    _, agent = await servers(site)
    said = [Sample(10.0), Sample(20.0), Sample(90.0)]
    await put(database, host_row_id(agent), [(0, said[0]), (300, said[1]), (20, said[2])])
    site.manual_clock.advance(600)
    points = (await read(site))["points"]
    assert [point["metrics"]["cpuPercentage"] for point in points] == [
        {"min": 10.0, "mean": 50.0, "max": 90.0, "count": 2},
        {"min": 20.0, "mean": 20.0, "max": 20.0, "count": 1},
    ]


async def test_large_numbers_of_bytes_are_whole_and_exact(site: Site, database: Database) -> None:
    _, agent = await servers(site)
    await put(database, host_row_id(agent), [(0, Sample(pending_bytes=2**53 - 1)), (1, Sample(pending_bytes=1))])
    site.manual_clock.advance(5)
    pending = (await read(site))["points"][0]["metrics"]["throughputUploadPendingDataInBytes"]
    assert pending == {"min": 1, "mean": 2.0**52, "max": 2**53 - 1, "count": 2}
    assert isinstance(pending["max"], int)


async def test_the_inbuilt_process_server_s_history_is_its_configuration_server_s(
    site: Site, database: Database
) -> None:
    server, agent = await servers(site)
    await put(database, host_row_id(server), [(0, Sample(1.0))])
    await put(database, host_row_id(agent), [(0, Sample(99.0))])
    site.manual_clock.advance(60)
    inbuilt = await read(site, f"{VAULT}/configuration-servers/cs-1/process-servers/cs-1/telemetry")
    assert inbuilt == await read(site, OF_SERVER) == await read(site, f"{VAULT}/process-servers/cs-1/telemetry")
    assert inbuilt["points"][0]["metrics"]["cpuPercentage"]["max"] == 1.0
    of_agent = await read(site, NESTED)
    assert of_agent == await read(site) == await read(site, IN_VAULT.replace("ps-1", agent["id"]))
    assert of_agent["points"][0]["metrics"]["cpuPercentage"]["max"] == 99.0


async def test_whose_telemetry_does_not_exist(site: Site) -> None:
    await servers(site)
    get = site.client.get
    problem(await get(f"{VAULT}/process-servers/none/telemetry"), 404, "process-server-not-found")
    problem(await get(NESTED.replace("cs-1", "none")), 404, "configuration-server-not-found")
    problem(await get(OF_SERVER.replace("cs-1", "none")), 404, "configuration-server-not-found")
    problem(await get(IN_VAULT.replace("contoso", "none")), 404, "vault-not-found")
    await site.vault("fabrikam")
    elsewhere = await site.caller("reader", "fabrikam")
    for path in (IN_VAULT, NESTED, OF_SERVER):
        problem(await elsewhere.get(path), 404, "vault-not-found")


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"stepSeconds": 0}, "stepSeconds", "300"),
    ({"stepSeconds": -300}, "stepSeconds", "300"),
    ({"stepSeconds": 299}, "stepSeconds", "300"),
    ({"stepSeconds": 450}, "stepSeconds", "multiple of 300"),
    ({"stepSeconds": 86_700}, "stepSeconds", "86400"),
    ({"stepSeconds": 2**70}, "stepSeconds", "300"),
    ({"stepSeconds": "5m"}, "stepSeconds", '"5m"'),
    ({"stepSeconds": ""}, "stepSeconds", "integer"),
    ({"from": "yesterday"}, "from", '"yesterday"'),
    ({"from": "2026-01-01T00:00:00"}, "from", "no time zone"),
    ({"to": "2026-01-01T00:00:00"}, "to", "no time zone"),
    ({"to": "9999-12-31T23:59:59-14:00"}, "to", "outside the years"),
    ({"to": "0001-01-01T00:00:00Z"}, "to", "before 1970"),
    ({"from": "2026-01-01T00:00:00Z"}, "from", "not before"),
    ({"from": "2026-01-01T01:00:00Z", "to": "2026-01-01T00:59:59.999Z"}, "from", "not before"),
    ({"from": "2025-12-24T23:59:59.999Z"}, "from", "at most 7 days"),
    ({"from": "2020-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from", "at most 7 days"),
]


async def test_what_can_not_be_asked_for(site: Site, subtests: pytest.Subtests) -> None:
    await servers(site)
    for path in [IN_VAULT, NESTED, OF_SERVER]:
        for query, pointer, said in REFUSED:
            with subtests.test(path=path, query=query, pointer=pointer, said=said):
                answer = await site.client.get(path, params=query)
                assert pointers(answer) == [f"#/query/{pointer}"], query
                assert said in answer.json()["errors"][0]["detail"], answer.text
                assert said in answer.json()["detail"], answer.text


async def test_a_whole_week_in_buckets_can_be_asked_for(site: Site) -> None:
    await servers(site)
    found = await read(site, since="2025-12-25T00:00:00Z", to="2026-01-01T00:00:00Z", stepSeconds=300)
    assert found["stepSeconds"] == 300
    assert (await read(site, since="2025-12-25T00:00:00Z"))["stepSeconds"] == HOUR


async def test_a_taken_over_server_keeps_its_history(site: Site, database: Database) -> None:
    server, agent = await servers(site)
    await put(database, host_row_id(agent), [(0, Sample(1.0)), (300, Sample(2.0))])
    site.manual_clock.advance(310)
    assert (await site.client.post(f"{VAULT}/process-servers/ps-1/takeover")).status_code == 200
    body = registration(server, "ps-1", hostId="rebuilt", instanceId="rebuilt")
    answer = await site.agent_post("/agent/v1/process-servers/register", body)
    assert answer.status_code == 200, answer.text
    new = answer.json()
    assert host_row_id(new) != host_row_id(agent)
    # The new machine goes on in the very bucket that the old one was filling.
    await put(database, host_row_id(new), [(320, Sample(6.0)), (600, Sample(3.0))])
    site.manual_clock.advance(310)
    points = (await read(site))["points"]
    assert [point["metrics"]["cpuPercentage"] for point in points] == [
        {"min": 1.0, "mean": 1.0, "max": 1.0, "count": 1},
        {"min": 2.0, "mean": 4.0, "max": 6.0, "count": 2},
        {"min": 3.0, "mean": 3.0, "max": 3.0, "count": 1},
    ]
    async with database.read() as session:
        owners = (await session.execute(text("SELECT DISTINCT host_row_id FROM telemetry_buckets"))).all()
    assert len(owners) == 1


async def test_a_removed_server_s_history_is_nobody_s_and_stays_until_its_retention(
    site: Site, database: Database
) -> None:
    server, agent = await servers(site)
    await put(database, host_row_id(agent), [(0, Sample(1.0)), (300, Sample(2.0))])
    assert (await site.client.post(f"{VAULT}/process-servers/ps-1/purge", json={})).status_code == 200
    problem(await site.client.get(IN_VAULT), 404, "process-server-not-found")
    assert await count(database, TelemetryBucket) == 1
    assert (await site.client.post(f"{VAULT}/process-servers/ps-1/readmit")).status_code == 200
    await site.process_server(server)
    site.manual_clock.advance(600)
    assert (await read(site))["points"] == [], "the machine that registers again begins anew"
    site.manual_clock.advance(8 * 24 * HOUR)
    await site.app.state.housekeeping.tick()
    assert await count(database, TelemetryBucket) == 0


async def test_a_reader_sees_each_value_once_while_buckets_move_on(database: Database, database_url: str) -> None:
    (host,) = await new_hosts(database, 1)
    beside = Database(database_url)
    window = Window(START - timedelta(hours=1), START + timedelta(hours=23), 24 * HOUR)
    begun = done = 0

    async def write() -> None:
        nonlocal begun, done
        for turn in range(60):
            begun += 1
            await put(database, host, [(turn * 150, Sample(1.0))])
            done += 1

    async def watch() -> None:
        while done < 60:
            least = done
            async with beside.read() as session:
                rows = await queries.steps(session, host, window)
            seen = sum(row.cpu_percentage_count for row in rows)
            assert least <= seen <= begun
            await asyncio.sleep(0)

    await asyncio.gather(write(), watch())
    await beside.close()


async def test_a_history_is_one_statement(site: Site, database: Database) -> None:
    _, agent = await servers(site)
    await put_buckets(database, [host_row_id(agent)], range(bucket_of(START), bucket_of(START) + 2_016))
    site.manual_clock.advance(7 * 24 * HOUR)
    statements: list[str] = []
    event.listen(
        site.app.state.database.engine.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )
    found = await read(site, since=at(0), stepSeconds=300)
    assert len(found["points"]) == 2_016
    assert len([statement for statement in statements if "telemetry_buckets" in statement]) == 1
    assert len(statements) <= 6, statements


async def test_a_history_is_read_by_its_host_s_key(database: Database) -> None:
    hosts = await new_hosts(database, 40)
    await put_buckets(database, hosts, range(bucket_of(START), bucket_of(START) + 1_000))
    async with database.write() as session:
        await session.execute(text("ANALYZE"))
    window = Window(START, START + timedelta(days=1), HOUR)
    plans = await plans_of(database, "telemetry_buckets", lambda session: queries.steps(session, hosts[3], window))
    (plan,) = plans.values()
    assert ("sqlite_autoindex_telemetry_buckets_1" if database.is_sqlite else "pk_telemetry_buckets") in plan, plan
    assert not scanned(plan, "telemetry_buckets"), plan


_engine = create_engine("sqlite://")
_HOST = new_id()


@pytest.fixture(scope="module", autouse=True)
def _tables_in_memory() -> None:
    HOSTS.metadata.drop_all(_engine, tables=[HOSTS, BUCKETS])  # a module's tests may be run in several stretches
    HOSTS.metadata.create_all(_engine, tables=[HOSTS, BUCKETS])
    with _engine.begin() as connection:
        connection.execute(
            insert(HOSTS).values(
                id=_HOST,
                vault_id=uuid.uuid4(),
                host_id="host",
                instance_id="",
                connection_changed_at=START,
                agent_version="9.62.7096.1",
                fqdn="host",
                ip_addresses=[],
                os={},
                hardware={},
                registered_at=START,
            )
        )


_values = st.none() | st.integers(0, 2**45)
_samples = st.lists(
    st.tuples(
        st.integers(0, 2 * 24 * HOUR),
        st.tuples(_values, _values).map(lambda values: Sample(cpu_percentage=values[0], pending_bytes=values[1])),
    ),
    max_size=40,
)


def _columns(statistics: dict[str, Statistics]) -> dict[str, Any]:
    return {
        f"{metric}_{part}": value
        for metric, values in statistics.items()
        for part, value in zip(("count", "sum", "min", "max"), values, strict=True)
    }


@settings(max_examples=200, deadline=None)
@given(
    samples=_samples,
    since=st.integers(-HOUR, 2 * 24 * HOUR),
    length=st.integers(1, 3 * 24 * HOUR),
    buckets_per_step=st.integers(1, 288),
)
def test_any_steps_agree_with_brute_force(
    samples: list[tuple[int, Sample]], since: int, length: int, buckets_per_step: int
) -> None:
    by_bucket: dict[int, list[Sample]] = defaultdict(list)
    for seconds, sample in samples:
        if sample != Sample():
            by_bucket[bucket_of(START + timedelta(seconds=seconds))].append(sample)
    window = Window(START + timedelta(seconds=since), START + timedelta(seconds=since + length), 300 * buckets_per_step)
    by_step: dict[int, list[Sample]] = defaultdict(list)
    for bucket, said in by_bucket.items():
        start = datetime.fromtimestamp(bucket * 300, tz=START.tzinfo)
        if start < window.end and start + timedelta(seconds=300) > window.start:
            by_step[bucket * 300 // window.step_seconds] += said
    *moved_on, filling = [*sorted(by_bucket), None]
    if filling is None and moved_on:
        filling = moved_on.pop()
    with _engine.begin() as connection:
        connection.execute(delete(BUCKETS))
        for bucket in moved_on:
            values = {"host_row_id": _HOST, "bucket": bucket, **_columns(statistics_of(by_bucket[bucket]))}
            connection.execute(insert(BUCKETS).values(values))
        present = statistics_of(by_bucket[filling] if filling is not None else [])
        connection.execute(HOSTS.update().values(history_bucket=filling or 0, **_columns(present)))
        rows = connection.execute(steps_of(_HOST, window)).all()
    assert [row.step for row in rows] == sorted(by_step)
    for row in rows:
        assert _columns(statistics_of(by_step[row.step])) == {
            name: value for name, value in row._mapping.items() if name != "step"
        }
