"""Imports at the same moment, and against PUTs; and that an import is its PUTs one after another, or nothing."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.db import Database
from app.models import SourceMachine
from tests.service.test_source_machine_imports import counts, lines, machines, post, row
from tests.support.machines import GB, LARGE, MACHINES, SMALL, Servers, connected_servers
from tests.support.muster import Site
from tests.support.rows import count, host_row


@pytest.fixture
async def servers(site: Site) -> Servers:
    """A configuration server, and a small and a large process server; all of them are connected."""
    return await connected_servers(site, ps_1=SMALL, ps_2=LARGE)


async def test_two_imports_of_the_same_machines_are_one_machine_each(
    site: Site, servers: Servers, database: Database
) -> None:
    before = (await host_row(database, servers["ps-1"])).generation
    rows = [row(f"sql-{number}") for number in range(50)]
    answers = await asyncio.gather(post(site, lines(rows)), post(site, lines(reversed(rows))))
    assert sorted(counts(answer.json()) for answer in answers) == [[0, 0, 0, 50, 0], [50, 0, 0, 0, 0]]
    assert await count(database, SourceMachine) == 50
    assert len(await site.events(type="source-machine.registered")) == 50
    assert (await host_row(database, servers["ps-1"])).generation == before + 1


async def test_imports_and_puts_never_pass_the_limit(site: Site, servers: Servers, database: Database) -> None:
    """Ten imports of 10 machines and 30 PUTs at once, where 85 fit."""
    files = [[row(f"file-{number}-{entry}", churn=0) for entry in range(10)] for number in range(10)]
    imports = [post(site, lines(rows)) for rows in files]
    body = {"processServer": "ps-1", "churnInBytesPerDay": 0}
    puts = [site.client.put(f"{MACHINES}/put-{number}", json=body) for number in range(30)]
    answers = await asyncio.gather(*imports, *puts)
    assert {answer.status_code for answer in answers} <= {200, 201, 409}
    done = [answer.status_code != 409 for answer in answers]
    there = await machines(site)
    assert len(there) == 10 * sum(done[:10]) + sum(done[10:]) <= 85
    assert len(there) > 75
    per_file = Counter(name.split("-")[1] for name in there if name.startswith("file-"))
    assert set(per_file.values()) == {10}


async def test_imports_that_move_machines_to_and_fro_lose_none(
    site: Site, servers: Servers, database: Database
) -> None:
    names = [f"sql-{number}" for number in range(20)]
    assert (await post(site, lines(row(name) for name in names))).status_code == 200
    requests: list[Any] = [
        post(site, lines(row(name, f"ps-{1 + turn % 2}") for name in names[turn % 5 :])) for turn in range(12)
    ]
    requests += [site.beat(servers[f"ps-{1 + turn % 2}"], 2 + turn) for turn in range(12)]
    body = {"processServer": "ps-2", "churnInBytesPerDay": GB}
    requests += [site.client.put(f"{MACHINES}/{name}", json=body) for name in names[:6]]
    answers = await asyncio.gather(*requests)
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(await machines(site)) == sorted(names)
    assert await count(database, SourceMachine) == 20


NAMES = [f"m-{number}" for number in range(5)]
ROWS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "processServer": st.sampled_from(["ps-1", "ps-1", "ps-2", "ps-9"]),
        "churnInBytesPerDay": st.sampled_from([0, 60 * GB, 125 * GB, 251 * GB, 3000 * GB]),
    },
    optional={"osType": st.sampled_from(["Windows", "Linux"]), "friendlyName": st.just("One")},
)
FILES = st.lists(ROWS, min_size=1, max_size=6, unique_by=lambda entry: str(entry["name"]))
_UNLIKE = ("id", "createdAt", "updatedAt")


async def _clear(site: Site) -> None:
    for name in await machines(site):
        assert (await site.client.delete(f"{MACHINES}/{name}")).status_code == 204


async def _described(site: Site) -> dict[str, dict[str, Any]]:
    found = await machines(site)
    return {name: {key: entry[key] for key in entry if key not in _UNLIKE} for name, entry in found.items()}


async def _put_all(site: Site, rows: list[dict[str, Any]], *, may_exceed: bool) -> list[int]:
    statuses = []
    for entry in rows:
        body = {key: value for key, value in entry.items() if key != "name"}
        query = {"allowOverCapacity": may_exceed}
        answer = await site.client.put(f"{MACHINES}/{entry['name']}", json=body, params=query)
        statuses.append(answer.status_code)
    return statuses


async def _events_of(site: Site, after: int) -> list[tuple[str, str]]:
    return [(event["type"], event["resource"]["name"]) for event in (await site.events())[after:]]


async def test_an_import_is_its_puts_one_after_another_or_nothing(site: Site, servers: Servers) -> None:
    """What is imported is what the PUTs leave, with the same events; what every PUT may do, the import does."""
    loop = asyncio.get_running_loop()

    async def compare(first: list[dict[str, Any]], second: list[dict[str, Any]], may_exceed: bool) -> None:
        await _clear(site)
        await _put_all(site, first, may_exceed=True)
        start, sequence = await _described(site), len(await site.events())
        answer = await post(site, lines(second), allowOverCapacity=may_exceed)
        after_import, events = await _described(site), await _events_of(site, sequence)
        if answer.status_code != 200:
            assert answer.status_code == 409, answer.text
            assert after_import == start
            assert not events
        await _clear(site)
        await _put_all(site, first, may_exceed=True)
        sequence = len(await site.events())
        statuses = await _put_all(site, second, may_exceed=may_exceed or answer.status_code == 200)
        if answer.status_code == 200:
            assert set(statuses) <= {200, 201}
            assert await _described(site) == after_import
            assert await _events_of(site, sequence) == events
        else:
            assert not set(statuses) <= {200, 201}

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(first=FILES, second=FILES, may_exceed=st.booleans())
    def explore(first: list[dict[str, Any]], second: list[dict[str, Any]], may_exceed: bool) -> None:
        asyncio.run_coroutine_threadsafe(compare(first, second, may_exceed), loop).result(60)

    await asyncio.to_thread(explore)
