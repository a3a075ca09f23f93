"""The built-in load generator, for machines without wrk: kept-alive connections on one event loop.

Run in a process of its own with a plan's file; prints its result as JSON.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import cast

from tests.bench.beats import LoadPlan, LoadResult, body_parts, head_parts

HOST = "127.0.0.1"
_OK = b"HTTP/1.1 200 "
_LENGTH = b"content-length: "
_GRACE_SECONDS = 10.0


class Load:
    """The run as a whole: what all connections share."""

    def __init__(self, plan: LoadPlan) -> None:
        head, self.head_end = head_parts(plan.port)
        self.heads = [head + credential + self.head_end for credential in plan.credentials]
        self.body = body_parts(plan.boot_id)
        self.next_sequence = [plan.first_sequence] * len(plan.credentials)
        self.last_acknowledged = [0] * len(plan.credentials)
        self.latencies: list[float] = []
        self.failed = 0
        self.ended_at = 0.0

    def request(self, host: int) -> bytes:
        """Return the next heartbeat of a host."""
        sequence = self.next_sequence[host]
        self.next_sequence[host] = sequence + 1
        before, between, after = self.body
        body = f"{before}{sequence}{between}{1_000_000_000 + sequence}{after}"
        return f"{self.heads[host]}{len(body)}\r\n\r\n{body}".encode()


class Connection(asyncio.Protocol):
    """One connection: beats for its own share of the hosts, each time after the answer to the last."""

    def __init__(self, load: Load, hosts: range) -> None:
        self.load = load
        self.hosts = hosts
        self.turn = 0
        self.sent_at = 0.0
        self.received = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first heartbeat."""
        self.transport = cast("asyncio.Transport", transport)
        self.send()

    def send(self) -> None:
        """Send the next heartbeat, unless the time is up."""
        now = time.perf_counter()
        if self.transport is None or now >= self.load.ended_at:
            self.finish()
            return
        self.sent_at = now
        self.transport.write(self.load.request(self.hosts[self.turn]))

    def data_received(self, data: bytes) -> None:
        """Take an answer, or a part of one."""
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.received[:end].lower()
        at = head.find(_LENGTH)
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.received) < end + 4 + length:
            return
        host = self.hosts[self.turn]
        if self.received.startswith(_OK):
            self.load.latencies.append(time.perf_counter() - self.sent_at)
            self.load.last_acknowledged[host] = self.load.next_sequence[host] - 1
        else:
            self.load.failed += 1
        self.received = b""
        self.turn = (self.turn + 1) % len(self.hosts)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a connection that the server closed."""
        if not self.done.done():
            self.load.failed += 1
            self.finish()

    def finish(self) -> None:
        """End this connection's part."""
        if not self.done.done():
            self.done.set_result(None)
        if self.transport is not None:
            self.transport.close()


async def generate(plan: LoadPlan) -> LoadResult:
    """Carry out a plan and return what was seen."""
    load = Load(plan)
    loop = asyncio.get_running_loop()
    shares = [range(start, len(plan.credentials), plan.connections) for start in range(plan.connections)]
    started_at = time.perf_counter()
    load.ended_at = started_at + plan.seconds
    connections: list[Connection] = []
    for share in shares:
        _transport, connection = await loop.create_connection(partial(Connection, load, share), HOST, plan.port)
        connections.append(connection)
    _done, late = await asyncio.wait([one.done for one in connections], timeout=plan.seconds + _GRACE_SECONDS)
    load.failed += len(late)
    seconds = time.perf_counter() - started_at
    load.latencies.sort()
    return LoadResult(
        acknowledged=len(load.latencies),
        failed=load.failed,
        seconds=seconds,
        p50_milliseconds=_percentile(load.latencies, 0.50) * 1000,
        p99_milliseconds=_percentile(load.latencies, 0.99) * 1000,
        last_acknowledged=load.last_acknowledged,
    )


def _percentile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


if __name__ == "__main__":
    import uvloop

    result = uvloop.run(generate(LoadPlan.read(Path(sys.argv[1]))))
    print(json.dumps(asdict(result)))
