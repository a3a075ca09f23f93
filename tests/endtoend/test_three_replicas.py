"""Three replicas on one PostgreSQL under random registrations, heartbeats and silences, the leader killed twice.

Every change of a connection state has exactly one event, written in its own transaction; two followers of the record,
of its list and of its stream, lose their connections at random and see each event once and in order.
`CHAOS_SECONDS=60` lets it run for a minute.
"""

import asyncio
import os
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.follower import Feed, Follower, ListFeed, StreamFeed
from tests.support.muster import VERSION, machine, registration
from tests.support.postgres import PostgresServer
from tests.support.server import ADMIN_TOKEN, MusterServer

SECONDS = float(os.environ.get("CHAOS_SECONDS", "10"))
SITES, MACHINES = 3, round(20 + SECONDS / 2)
TIMEOUT, INTERVAL = 6, 0.6
SETTINGS = {
    "heartbeat_timeout_seconds": TIMEOUT,
    "heartbeat_interval_seconds": INTERVAL,
    "monitor_tick_seconds": 0.5,
    "brake_hold_seconds": 3,
    "brake_releases_per_minute": 600,
    "database_pool_size": 5,
    "log_level": "warning",
}

_WATCH = """
CREATE TABLE transitions (
    host uuid NOT NULL, was text NOT NULL, becomes text NOT NULL, xid bigint NOT NULL DEFAULT txid_current()
);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO transitions (host, was, becomes) VALUES (NEW.id, OLD.connection_state, NEW.connection_state);
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER UPDATE OF connection_state ON hosts FOR EACH ROW
WHEN (OLD.connection_state IS DISTINCT FROM NEW.connection_state) EXECUTE FUNCTION watch();
"""

# What a transition must have left: for each server on the host one event, of the transaction that changed the state.
_WANTED = """
SELECT server.kind || '.' || lower(t.becomes) AS type, server.id, t.xid
FROM transitions t JOIN (
    SELECT 'process-server' AS kind, id, host_row_id FROM process_servers
    UNION ALL SELECT 'configuration-server', id, host_row_id FROM configuration_servers
) AS server ON server.host_row_id = t.host
WHERE t.becomes <> 'Unknown'
"""
_WRITTEN = """
SELECT type, resource_id AS id, xmin::text::bigint AS xid FROM events
WHERE type LIKE '%.connected' OR type LIKE '%.disconnected'
"""


class Replicas:
    """Three `muster serve` processes, of which the leader is killed now and then."""

    def __init__(self, folder: Path, url: str) -> None:
        self.servers = [MusterServer(folder / f"replica-{n}", database_url=url, **SETTINGS) for n in range(3)]
        self.up: list[MusterServer] = []
        self.killed: list[MusterServer] = []

    def urls(self) -> list[str]:
        """Those that serve as far as is known."""
        return [server.url for server in self.up]

    async def start(self) -> None:
        """Start whatever is down."""
        for server in self.servers:
            if server not in self.up:
                await asyncio.to_thread(server.start)
                self.up.append(server)

    async def kill_the_leader(self, connection: asyncpg.Connection, *, is_cut_off_first: bool) -> None:
        """SIGKILL to the replica whose monitor leads, without a goodbye."""
        leader = await self._leader()
        if is_cut_off_first:
            await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'muster monitor leader' AND pid IN "
                "(SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)"
            )
        self.up.remove(leader)
        self.killed.append(leader)
        await asyncio.to_thread(leader.kill)

    async def _leader(self) -> MusterServer:
        while True:
            async with httpx.AsyncClient(timeout=5) as client:
                for server in self.up:
                    metrics = (await client.get(f"{server.url}/metrics")).text
                    if "\nmuster_monitor_leader 1.0\n" in metrics:
                        return server
            await asyncio.sleep(0.1)

    def stop(self) -> None:
        """Stop whatever runs."""
        for server in self.servers:
            if server.process is not None:
                server.kill()


class Machine:
    """One machine's agent: registers at some time, then sends heartbeats, falls silent, comes back."""

    def __init__(
        self, replicas: Replicas, client: httpx.AsyncClient, name: str, path: str, body: dict[str, Any]
    ) -> None:
        self._replicas, self._client = replicas, client
        self._random = random.Random(name)
        self._path, self._body = path, body
        self._boot, self._sequence = str(uuid.uuid4()), 0
        self.registered: dict[str, Any] = {}
        self.beats = 0

    async def register(self) -> dict[str, Any]:
        """Until it is in: an answer that was lost is asked for again."""
        while not self.registered:
            answer = await self._post(self._path, self._body)
            if answer is not None and answer.status_code in {200, 201}:
                # The passphrase is in the first answer alone.
                self.registered = answer.json()
        return self.registered

    async def beat(self) -> None:
        """One heartbeat, which may be lost."""
        self._sequence += 1
        body = {"bootId": self._boot, "sequence": self._sequence, "agentVersion": VERSION, "observedGeneration": 1}
        credential = self.registered["credential"]
        answer = await self._post("/agent/v1/heartbeat", body, {"Authorization": f"Bearer {credential}"})
        self.beats += answer is not None and answer.status_code == 200

    async def _post(
        self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> httpx.Response | None:
        try:
            answer = await self._client.post(
                self._random.choice(self._replicas.urls()) + path, json=body, headers=headers
            )
        except httpx.HTTPError:
            await asyncio.sleep(0.1)
            return None
        assert answer.status_code in {200, 201, 500, 503}, answer.text
        return answer

    async def live(self) -> None:
        """Until cancelled."""
        if not self.registered:
            await asyncio.sleep(self._random.uniform(0, SECONDS / 2))
            await self.register()
        while True:
            for _ in range(self._random.randrange(1, 12)):
                await self.beat()
                await asyncio.sleep(self._random.uniform(0, 2 * INTERVAL))
            await asyncio.sleep(self._random.choice([0, 0, TIMEOUT / 2, TIMEOUT, 2 * TIMEOUT]))


@pytest.fixture
async def watched(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database that notes every change of a connection state with its transaction."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    await connection.execute(_WATCH)
    yield connection
    await connection.close()


async def grow(replicas: Replicas, client: httpx.AsyncClient) -> list[Machine]:
    """A vault with its configuration servers, registered, and machines that will register with them."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    base = f"{replicas.urls()[0]}/api/v1/vaults"
    (await client.post(base, json={"name": "contoso", "location": "weu"}, headers=headers)).raise_for_status()
    key = (await client.post(f"{base}/contoso/registration-keys", headers=headers)).json()["registrationKey"]
    path = "/agent/v1/configuration-servers/register"
    sites = [
        Machine(replicas, client, f"cs-{n}", path, {"registrationKey": key, **machine(f"cs-{n}")}) for n in range(SITES)
    ]
    joined = [await site.register() for site in sites]
    path = "/agent/v1/process-servers/register"
    return sites + [
        Machine(replicas, client, f"ps-{n}", path, registration(joined[n % SITES], f"ps-{n}")) for n in range(MACHINES)
    ]


async def cause_trouble(replicas: Replicas, connection: asyncpg.Connection) -> None:
    """The leader dies twice, the first time cut off from the database before; each time another replica comes."""
    for is_cut_off_first in (True, False):
        await asyncio.sleep(SECONDS / 4)
        await replicas.kill_the_leader(connection, is_cut_off_first=is_cut_off_first)
        await asyncio.sleep(SECONDS / 4)
        await replicas.start()


async def fall_silent_at_once(connection: asyncpg.Connection) -> None:
    """Whoever is connected now was last heard of at one moment, however slow this machine is: a brake engages."""
    await connection.execute(
        "UPDATE hosts SET last_heartbeat_at = (SELECT max(last_heartbeat_at) FROM hosts) "
        "WHERE connection_state = 'Connected'"
    )


async def until(connection: asyncpg.Connection, condition: str) -> None:
    """Wait until a condition holds in the database."""
    while not await connection.fetchval(f"SELECT {condition}"):
        await asyncio.sleep(0.1)


def assert_alternate(events: list[dict[str, Any]]) -> None:
    """What each server's events say of its connection makes one story."""
    connected: dict[str, bool] = {}
    for event in events:
        what = event["type"].partition(".")[2]
        if what in {"connected", "disconnected"}:
            who = event["resource"]["id"]
            # A server that a brake held was neither: no event told that it was gone.
            was = False if event["data"].get("previousState") == "Unknown" else connected.get(who, False)
            assert was == (what == "disconnected"), f"{event['resource']['name']}: {event['type']} once more"
            connected[who] = what == "connected"
    assert not any(connected.values())


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.timeout(SECONDS * 3 + 240)
async def test_every_transition_is_one_event_and_a_follower_sees_each_once_and_in_order(
    postgres: PostgresServer, database_url: str, watched: asyncpg.Connection, tmp_path: Path
) -> None:
    replicas = Replicas(tmp_path, database_url)
    feeds: list[Feed] = [ListFeed("contoso"), StreamFeed("contoso")]
    followers = [Follower(feed, replicas.urls, ADMIN_TOKEN, seed) for seed, feed in enumerate(feeds)]
    tasks: list[asyncio.Task[None]] = []
    try:
        await replicas.start()
        async with httpx.AsyncClient(timeout=5) as client:
            machines = await grow(replicas, client)
            following = [asyncio.create_task(follower.run()) for follower in followers]
            living = [asyncio.create_task(one.live()) for one in machines]
            tasks = [*following, *living]
            await cause_trouble(replicas, watched)
            for task in living:
                task.cancel()
            lives = await asyncio.gather(*living, return_exceptions=True)
            assert {type(life) for life in lives} == {asyncio.CancelledError}, lives
            await asyncio.gather(*(one.beat() for one in machines if one.registered))
        await fall_silent_at_once(watched)
        await until(watched, "count(*) = 0 FROM hosts WHERE connection_state <> 'Disconnected'")
        await until(watched, "count(*) = 0 FROM brakes WHERE ended_at IS NULL")
        last = await watched.fetchval("SELECT last_sequence FROM event_counters")
        while any(follower.last < last for follower in followers):
            await asyncio.sleep(0.1)
            for task in following:
                assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(replicas.stop)

    wanted = Counter(tuple(row) for row in await watched.fetch(_WANTED))
    written = Counter(tuple(row) for row in await watched.fetch(_WRITTEN))
    assert written == wanted
    assert set(written.values()) == {1}
    kinds = {row["becomes"] for row in await watched.fetch("SELECT DISTINCT becomes FROM transitions")}
    assert kinds == {"Connected", "Unknown", "Disconnected"}
    engaged = await watched.fetchval("SELECT count(*) FROM events WHERE type LIKE '%.brake-engaged'")
    assert engaged == await watched.fetchval("SELECT count(*) FROM brakes") > 0
    for follower in followers:
        assert [event["sequence"] for event in follower.seen] == list(range(1, last + 1))
        assert_alternate(follower.seen)
        assert follower.connections > 5
    assert len(replicas.killed) == 2
    assert sum(one.beats for one in machines) > len(machines)
