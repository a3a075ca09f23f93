"""Two replicas on one PostgreSQL database take heartbeats of the same hosts."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core import secrets
from app.core.clock import ManualClock
from app.core.db import Database
from app.core.wire import new_id
from app.models import Host
from tests.support.heartbeats import beat_with, submitted
from tests.support.muster import VERSION, Site, new_site, registration
from tests.support.rows import host_row

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
HOSTS, BEATS = 50, 2000


@pytest.fixture
async def pair(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[tuple[Site, Site]]:
    """Two replicas."""
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(new_site(database_url, clock, tmp_path)),
            await stack.enter_async_context(new_site(database_url, clock, tmp_path)),
        )


async def many_hosts(site: Site, database: Database) -> list[secrets.Issued]:
    """Hosts with a credential each, without a passphrase's hash for each."""
    await site.vault()
    server = await site.configuration_server()
    vault_id = (await host_row(database, server)).vault_id
    issued = [secrets.issue(new_id()) for _ in range(HOSTS)]
    async with database.write() as session:
        for one in issued:
            session.add(
                Host(
                    id=one.id,
                    vault_id=vault_id,
                    host_id=str(one.id),
                    instance_id="",
                    credential_hash=one.digest,
                    connection_changed_at=site.clock.now(),
                    agent_version=VERSION,
                    fqdn="x",
                    ip_addresses=[],
                    os={},
                    hardware={},
                    registered_at=site.clock.now(),
                )
            )
    return issued


async def test_two_thousand_heartbeats_of_overlapping_hosts_through_two_replicas(
    pair: tuple[Site, Site], database: Database
) -> None:
    issued = await many_hosts(pair[0], database)
    chooser = random.Random(1)
    sent: list[tuple[secrets.Issued, int, Any]] = []
    sequences = dict.fromkeys(issued, 0)
    for number in range(BEATS):
        one = chooser.choice(issued)
        sequences[one] += 1
        beat = beat_with(one.id.hex, one.digest, sequences[one])
        sent.append((one, sequences[one], submitted(pair[chooser.randrange(2)], beat)))
        if number % 100 == 0:
            await asyncio.sleep(0)
    outcomes = await asyncio.gather(*(future for _, _, future in sent), return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    async with database.read() as session:
        rows = await session.execute(select(Host.id, Host.sequence))
        stored = {row.id: row.sequence for row in rows}
    for one, newest in sequences.items():
        assert stored[one.id] == newest


async def test_first_heartbeats_of_the_same_hosts_through_both_replicas(
    pair: tuple[Site, Site], database: Database
) -> None:
    """All of them are settled, in transactions that lock the same rows: by rising id, or they would deadlock."""
    issued = await many_hosts(pair[0], database)
    for round_number in range(1, 6):
        order = [*issued, *issued]
        random.Random(round_number).shuffle(order)
        futures = []
        for number, one in enumerate(order):
            beat = beat_with(one.id.hex, one.digest, 1, f"boot-{round_number}")
            futures.append(submitted(pair[number % 2], beat))
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []


async def test_one_transition_through_two_replicas_is_one_event(pair: tuple[Site, Site], database: Database) -> None:
    first, second = pair
    await first.vault()
    server = await first.configuration_server()
    for number in range(1, 21):
        async with database.write() as session:
            await session.execute(update(Host).values(connection_state="Disconnected"))
        answers = await asyncio.gather(
            *(site.beat(server, number, observedGeneration=1) for site in (first, second, first, second))
        )
        assert {answer.status_code for answer in answers} == {200}
        assert (await first.event_types()).count("configuration-server.connected") == number


async def test_a_heartbeat_that_races_a_deletion_is_200_or_410_and_never_brings_the_row_back(
    pair: tuple[Site, Site],
) -> None:
    first, second = pair
    await first.vault()
    key = await first.registration_key()
    for number in range(10):
        server = await first.configuration_server(name=f"cs-{number}", key=key)
        await first.beat(server, 1)
        path = f"/api/v1/vaults/contoso/configuration-servers/cs-{number}"
        deleted, *answers = await asyncio.gather(
            first.client.delete(path), *(second.beat(server, sequence) for sequence in (2, 3))
        )
        assert deleted.status_code == 204
        assert {answer.status_code for answer in answers} <= {200, 410}
        assert (await second.beat(server, 4)).status_code == 410


async def test_a_registration_that_races_heartbeats_locks_nobody_out(pair: tuple[Site, Site]) -> None:
    first, second = pair
    await first.vault()
    server = await first.configuration_server()
    process_server = await first.process_server(server)
    assert (await first.beat(process_server, 1)).status_code == 200
    answers = await asyncio.gather(
        *(second.beat(process_server, sequence, observedGeneration=1) for sequence in range(2, 12)),
        *(first.agent_post("/agent/v1/process-servers/register", registration(server, "ps-1")) for _ in range(3)),
    )
    assert {answer.status_code for answer in answers} == {200}
    assert (await second.beat(answers[-1].json(), 12)).status_code == 200
