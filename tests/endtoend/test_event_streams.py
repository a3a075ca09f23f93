"""Event streams of real servers: a thousand at once, and the end of the process."""

import asyncio
import contextlib
import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.core.clock import SystemClock
from app.core.db import Database
from app.core.migrations import upgrade_blocking
from tests.support.postgres import PostgresServer
from tests.support.processes import ChildProcess
from tests.support.records import record_events
from tests.support.server import ADMIN_TOKEN, MUSTER, MusterServer, environment
from tests.support.streams import SocketFollower, request_of

STREAMS = 1_000
WRITES = 10
STREAM = "/api/v1/vaults/contoso/events/stream"
MORE_THAN_BUFFERS_HOLD = 2_000
EVENT_BYTES = 6_000
MOST_BYTES_FOR_A_STREAM = 150_000
READ_OF_THE_RECORD = re.compile(r"SELECT event_counters\.last_sequence, event_counters\.oldest_kept, anon_1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MusterServer]:
    """A control plane on SQLite, started."""
    started = MusterServer(tmp_path)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def talkative_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that logs each statement, with a migrated database `muster`."""
    with PostgresServer.start(fsync=False, settings={"log_statement": "all"}) as started:
        upgrade_blocking(started.create_database("muster"))
        yield started


async def make_vault(server: MusterServer) -> None:
    async with server.client() as client:
        (await client.post("/api/v1/vaults", json={"name": "contoso", "location": "weu"})).raise_for_status()


async def write(server: MusterServer) -> None:
    async with server.client() as client:
        (await client.post("/api/v1/vaults/contoso/registration-keys")).raise_for_status()


def memory(server: MusterServer) -> int:
    assert server.process is not None
    return int(psutil.Process(server.process.pid).memory_info().rss)


async def metric(server: MusterServer, name: str) -> float:
    async with server.client() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


async def test_a_thousand_streams_cost_one_process_little(tmp_path: Path, talkative_postgres: PostgresServer) -> None:
    server = MusterServer(tmp_path, database_url=talkative_postgres.url("muster"))
    server.start()
    try:
        await make_vault(server)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):  # what every process needs once
                await stack.enter_async_context(SocketFollower.open(server.port, STREAM))
            before = memory(server)
            streams = [
                await stack.enter_async_context(SocketFollower.open(server.port, STREAM)) for _ in range(STREAMS)
            ]
            for stream in streams:
                assert (frame := await stream.frame()) is not None
                assert frame.id == 1
            assert await metric(server, "muster_event_streams") == STREAMS + 20
            held = (memory(server) - before) / STREAMS
            print(f"a stream holds {held / 1024:.0f} KiB")
            assert held < MOST_BYTES_FOR_A_STREAM
            logged = talkative_postgres.log.stat().st_size
            for number in range(WRITES):
                await write(server)
                for stream in streams:
                    assert await stream.event() == number + 2
            with talkative_postgres.log.open() as log:
                log.seek(logged)
                reads = len(READ_OF_THE_RECORD.findall(log.read()))
            print(f"{reads} reads of the record for {WRITES} events on {STREAMS} streams")
            assert 1 <= reads <= WRITES + 2, "the others may be looks for lost notices"
            assert await metric(server, "muster_events_streamed_total") >= STREAMS * WRITES
        async with server.client() as client:
            while await metric(server, "muster_event_streams"):
                await client.get("/healthz")
    finally:
        server.stop()


async def test_sigterm_ends_open_streams_at_once(server: MusterServer) -> None:
    await make_vault(server)
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(SocketFollower.open(server.port, STREAM)) for _ in range(50)]
        assert server.process is not None
        server.process.send(signal.SIGTERM)
        assert all(await asyncio.gather(*(stream.ends() for stream in streams)))
        code = await asyncio.to_thread(server.process.wait, 10)
    assert code in {0, -signal.SIGTERM}
    assert "timeout graceful shutdown exceeded" not in server.log
    assert "stopped" in server.log


async def test_sigterm_ends_a_process_whose_client_takes_nothing(server: MusterServer) -> None:
    await make_vault(server)
    database = Database(f"sqlite+aiosqlite:///{server.folder / 'data' / 'muster.db'}")
    await record_events(database, SystemClock(), MORE_THAN_BUFFERS_HOLD, padding=EVENT_BYTES)
    await database.close()
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stalled.connect(("127.0.0.1", server.port))
        stalled.sendall(request_of(STREAM, last_event_id=0))
        sent, before = 0.0, -1.0
        while sent == 0 or sent != before:
            before, sent = sent, await metric(server, "muster_events_streamed_total")
            await asyncio.sleep(0.1)
        assert sent < MORE_THAN_BUFFERS_HOLD
        assert server.process is not None
        server.process.send(signal.SIGTERM)
        code = await asyncio.to_thread(server.process.wait, 10)
    assert code in {0, -signal.SIGTERM}


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_sigterm_ends_the_streams_of_all_workers(tmp_path: Path, database_url: str) -> None:
    server = MusterServer(tmp_path, database_url=database_url, workers=2)
    server.start()
    try:
        await make_vault(server)
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(SocketFollower.open(server.port, STREAM)) for _ in range(40)]
            assert await metric(server, "muster_event_streams") == 40, "over both processes"
            await write(server)
            for stream in streams:
                assert await stream.event() == 2
            assert server.process is not None
            server.process.send(signal.SIGTERM)
            assert all(await asyncio.gather(*(stream.ends() for stream in streams)))
            code = await asyncio.to_thread(server.process.wait, 10)
        assert code in {0, -signal.SIGTERM}
        assert "timeout graceful shutdown exceeded" not in server.log
    finally:
        server.stop()


def test_the_command_line_follows_over_a_restart_until_it_is_interrupted(server: MusterServer, tmp_path: Path) -> None:
    asyncio.run(make_vault(server))
    shown = tmp_path / "shown"
    # A suite that runs in the background ignores SIGINT, and so would its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    follower = ChildProcess.start(
        [MUSTER, "event", "list", "--follow", "--json", "--vault", "contoso"],
        log=shown,
        environment=environment({"url": server.url, "token": ADMIN_TOKEN}),
    )

    def numbers() -> list[int]:
        lines = [line for line in shown.read_text().splitlines() if line.startswith("{")]
        return [json.loads(line)["sequence"] for line in lines]

    try:
        follower.wait_until(lambda: numbers() == [1], 30, "the list")
        asyncio.run(write(server))
        follower.wait_until(lambda: numbers() == [1, 2], 30, "the first event")
        server.stop()
        server.start()
        for _ in range(3):
            asyncio.run(write(server))
        follower.wait_until(lambda: numbers() == [1, 2, 3, 4, 5], 30, "what came after the restart")
    finally:
        code = follower.stop(signal_number=signal.SIGINT)
        signal.signal(signal.SIGINT, before)
    assert code == 0, shown.read_text()
    assert "Traceback" not in shown.read_text()
