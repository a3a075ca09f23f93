"""From the heartbeat to its history: real heartbeats on the manual clock, edges, restarts, replicas."""

import asyncio
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from app.connection.rules import bucket_of
from app.core.clock import ManualClock
from app.core.db import Database
from app.models import METRICS
from app.telemetry.rules import Sample
from tests.support.muster import Site, new_site, problem
from tests.support.rows import host_row_id
from tests.support.telemetry import filling, finished, statistics_of

WIRE = (
    "cpuPercentage",
    "totalMemoryInBytes",
    "availableMemoryInBytes",
    "totalSpaceInBytes",
    "availableSpaceInBytes",
    "throughputInBytes",
    "throughputUploadPendingDataInBytes",
)
IN_VAULT = "/api/v1/vaults/contoso/process-servers"
POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


def body_of(sample: Sample) -> dict[str, Any]:
    """The telemetry of a heartbeat."""
    return {name: value for name, value in zip(WIRE, sample, strict=True) if value is not None}


def anything(chance: random.Random) -> Sample:
    """Telemetry of which each member may be missing."""
    cpu = chance.choice([None, chance.randrange(101) * 1.0])
    return Sample(cpu, *(chance.choice([None, chance.randrange(2**40)]) for _ in METRICS[1:]))


def expected_points(sent: dict[int, list[Sample]]) -> list[dict[str, Any]]:
    """The metrics of each bucket by brute force, as the API shows them."""
    points = []
    for bucket in sorted(sent):
        found = zip(WIRE, statistics_of(sent[bucket]).values(), strict=True)
        points.append(
            {
                name: {"min": least, "mean": pytest.approx(total / count), "max": greatest, "count": count}
                if count
                else None
                for name, (count, total, least, greatest) in found
            }
        )
    return points


async def points(site: Site, name: str = "ps-1", **query: Any) -> list[dict[str, Any]]:
    """The metrics of each point, oldest first."""
    answer = await site.client.get(f"{IN_VAULT}/{name}/telemetry", params=query)
    assert answer.status_code == 200, answer.text
    return [point["metrics"] for point in answer.json()["points"]]


async def one_server(site: Site) -> dict[str, Any]:
    """A process server that is connected and in no need of its desired state."""
    await site.vault()
    server = await site.configuration_server()
    agent = await site.process_server(server)
    assert (await site.beat(agent, 1, observedGeneration=1)).status_code == 200
    return agent


async def test_beats_every_30_seconds_over_several_buckets_and_restarts(
    database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    """Whatever process they come to, and whether they are settled or are numbers alone, each counts once."""
    chance = random.Random(7)
    sent: dict[int, list[Sample]] = defaultdict(list)
    agent: dict[str, Any] = {}
    sequence = 0
    clock.advance(17)
    for beats in (1, 13, 9, 20, 10):
        async with new_site(database_url, clock, tmp_path) as site:
            if not agent:
                await site.vault()
                agent = await site.process_server(await site.configuration_server())
            for _ in range(beats):
                sequence += 1
                said = anything(chance)
                answer = await site.beat(agent, sequence, observedGeneration=1, telemetry=body_of(said))
                assert answer.status_code == 200, answer.text
                if said != Sample():
                    sent[bucket_of(clock.now())].append(said)
                clock.advance(30)
            assert await points(site) == expected_points(sent)
    assert len(sent) == 6, "26 minutes and a half from 17 s after an edge"
    assert {len(sent[bucket]) for bucket in sorted(sent)[:5]} == {10}


async def test_a_missed_beat_and_a_silence_are_gaps(site: Site) -> None:
    agent = await one_server(site)
    for sequence, seconds in enumerate((30, 60, 3_600, 30), start=2):
        site.manual_clock.advance(seconds)
        await site.beat(agent, sequence, observedGeneration=1, telemetry={"cpuPercentage": float(sequence)})
    found = await points(site)
    assert [point["cpuPercentage"] for point in found] == [
        {"min": 2.0, "mean": 2.5, "max": 3.0, "count": 2},
        {"min": 4.0, "mean": 4.5, "max": 5.0, "count": 2},
    ]
    assert all(point["throughputInBytes"] is None for point in found)


async def test_a_retried_or_late_heartbeat_counts_once(site: Site) -> None:
    agent = await one_server(site)
    for sequence in (2, 3, 3, 2, 4, 3):
        answer = await site.beat(agent, sequence, observedGeneration=1, telemetry={"cpuPercentage": 10.0 * sequence})
        assert answer.status_code == 200
    site.manual_clock.advance(300)
    for sequence in (4, 5, 5):
        await site.beat(agent, sequence, observedGeneration=1, telemetry={"cpuPercentage": 10.0 * sequence})
    site.manual_clock.advance(1)
    assert [point["cpuPercentage"] for point in await points(site)] == [
        {"min": 20.0, "mean": 30.0, "max": 40.0, "count": 3},
        {"min": 50.0, "mean": 50.0, "max": 50.0, "count": 1},
    ]


async def test_a_refused_heartbeat_counts_nothing(site: Site, database: Database) -> None:
    agent = await one_server(site)
    wrong = f"{agent['credential'].partition('.')[0]}.{'x' * 43}"
    telemetry = {"cpuPercentage": 99.0}
    problem(await site.beat(wrong, 2, observedGeneration=1, telemetry=telemetry), 401, "credential-refused")
    site.manual_clock.advance(300)
    problem(await site.beat(wrong, 3, observedGeneration=1, telemetry=telemetry), 401, "credential-refused")
    assert (await filling(database, host_row_id(agent)))[0] == bucket_of(site.clock.now()) - 1, "nor rolls it"
    assert await points(site) == []


async def test_what_is_more_than_numbers_counts_too(site: Site) -> None:
    """A first heartbeat, a new boot, an upgrade, a return after a silence: settled in an ordinary session."""
    agent = await one_server(site)
    await site.beat(agent, 2, observedGeneration=1, telemetry={"cpuPercentage": 1.0})
    await site.beat(agent, 1, boot_id="boot-2", observedGeneration=1, telemetry={"cpuPercentage": 2.0})
    await site.beat(
        agent, 2, boot_id="boot-2", observedGeneration=1, agentVersion="9.61.7016.1", telemetry={"cpuPercentage": 3.0}
    )
    await site.pass_time(1_200)
    assert (await site.read_process_server())["connectionState"] == "Disconnected"
    await site.beat(
        agent, 3, boot_id="boot-2", observedGeneration=1, agentVersion="9.61.7016.1", telemetry={"cpuPercentage": 4.0}
    )
    site.manual_clock.advance(1)
    assert [point["cpuPercentage"] for point in await points(site)] == [
        {"min": 1.0, "mean": 2.0, "max": 3.0, "count": 3},
        {"min": 4.0, "mean": 4.0, "max": 4.0, "count": 1},
    ]


def healthy(chance: random.Random) -> Sample:
    """Telemetry that no alert looks at twice; the throughput, with nothing to upload, may be missing."""
    return Sample(
        chance.randrange(10, 40) * 1.0,
        2**34,
        2**33 + chance.randrange(2**30),
        2**40,
        2**39 + chance.randrange(2**36),
        chance.choice([None, 2**27 + chance.randrange(2**26)]),
        0,
    )


async def test_the_first_heartbeat_of_a_bucket_stays_on_the_hot_path(site: Site, database: Database) -> None:
    """Over several edges, also back over one after a correction of the clock."""
    agent = await one_server(site)
    chance = random.Random(5)
    sent: dict[int, list[Sample]] = defaultdict(list)
    statements: list[str] = []
    sequence = 1
    for seconds in (*[30] * 25, -310, *[30] * 8, -400, *[30] * 40):
        site.manual_clock.advance(seconds)
        sequence += 1
        said = healthy(chance)
        answer = await site.beat(agent, sequence, observedGeneration=1, telemetry=body_of(said))
        assert answer.status_code == 200, answer.text
        sent[bucket_of(site.clock.now())].append(said)
        if sequence == 2:
            # The first with telemetry is judged in full; the others are numbers alone.
            event.listen(
                site.app.state.database.engine.sync_engine,
                "before_cursor_execute",
                lambda _connection, _cursor, statement, *_: statements.append(statement),
            )
    assert statements == [], "no ordinary session was needed"
    last = max(sent)
    assert await filling(database, host_row_id(agent)) == (last, statistics_of(sent[last]))
    site.manual_clock.advance(1)
    assert await points(site) == expected_points(sent)
    del sent[last]
    assert await finished(database, host_row_id(agent)) == {
        bucket: statistics_of(said) for bucket, said in sent.items()
    }


async def test_a_configuration_server_s_beats_are_its_inbuilt_process_server_s(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.beat(server, 1, telemetry={"cpuPercentage": 8.0})
    site.manual_clock.advance(1)
    of_server = await site.client.get("/api/v1/vaults/contoso/configuration-servers/cs-1/telemetry")
    of_inbuilt = await site.client.get(f"{IN_VAULT}/cs-1/telemetry")
    assert of_server.json() == of_inbuilt.json()
    assert of_server.json()["points"][0]["metrics"]["cpuPercentage"]["mean"] == 8.0


@POSTGRESQL
async def test_replicas_count_each_beat_of_a_fleet_once(database_url: str, clock: ManualClock, tmp_path: Path) -> None:
    """Every host's beats go to any of three replicas, all at once, over four edges; one host rolls in each."""
    chance = random.Random(3)
    async with (
        new_site(database_url, clock, tmp_path / "a") as one,
        new_site(database_url, clock, tmp_path / "b") as two,
        new_site(database_url, clock, tmp_path / "c") as three,
    ):
        await one.vault()
        server = await one.configuration_server()
        agents = [await one.process_server(server, f"ps-{number}") for number in range(12)]
        sent: list[dict[int, list[Sample]]] = [defaultdict(list) for _ in agents]
        clock.advance(11)

        async def beat(number: int, sequence: int) -> None:
            said = anything(chance)
            replica = chance.choice([one, two, three])
            answer = await replica.beat(agents[number], sequence, observedGeneration=1, telemetry=body_of(said))
            assert answer.status_code == 200, answer.text
            if said != Sample():
                sent[number][bucket_of(clock.now())].append(said)

        for sequence in range(1, 30):
            await asyncio.gather(*(beat(number, sequence) for number in range(len(agents))))
            clock.advance(45)
        for number in range(len(agents)):
            assert await points(chance.choice([one, two, three]), f"ps-{number}") == expected_points(sent[number])


@POSTGRESQL
async def test_one_host_s_beats_to_several_replicas_at_once_across_an_edge(
    database_url: str, clock: ManualClock, tmp_path: Path, database: Database
) -> None:
    """Of beats that arrive together the later sequence may win and the earlier be late; none counts twice."""
    async with (
        new_site(database_url, clock, tmp_path / "a") as one,
        new_site(database_url, clock, tmp_path / "b") as two,
    ):
        agent = await one_server(one)
        sequence = 1
        for _ in range(15):
            clock.advance(300)
            answers = await asyncio.gather(
                *(
                    replica.beat(agent, sequence + step, observedGeneration=1, telemetry={"cpuPercentage": 1.0})
                    for step, replica in ((1, one), (2, two))
                )
            )
            assert {answer.status_code for answer in answers} == {200}
            sequence += 2
        await one.beat(agent, sequence + 1, observedGeneration=1)
        clock.advance(300)
        await one.beat(agent, sequence + 2, observedGeneration=1)
        kept = await finished(database, host_row_id(agent))
    counts = [statistics["cpu_percentage"] for statistics in kept.values()]
    assert len(counts) == 15
    for count, total, least, greatest in counts:
        assert 1 <= count <= 2
        assert (total, least, greatest) == (float(count), 1.0, 1.0)
