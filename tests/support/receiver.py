"""A receiver of webhooks on loopback that answers as it is told: it fails, hangs, redirects, dies, recovers."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, NamedTuple
from unittest import mock

import standardwebhooks.webhooks
from standardwebhooks.webhooks import Webhook

from app.core.clock import Clock

HANG = b"hang"
DIE = b"die"


class Received(NamedTuple):
    """A request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def id(self) -> str:
        """What repeats are known by."""
        return self.headers["webhook-id"]


def answer(status: int, body: str = "", **headers: str) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body.encode())}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


OK = answer(204)
Behaviour = Callable[[Received], bytes]


class Receiver:
    """Remembers every request. `behave` says what each gets: an answer, HANG (nothing, ever) or DIE (a closed door)."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.behave: Behaviour = lambda _: OK
        self.arrived = asyncio.Condition()
        self.port = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}/hooks?token=part-of-the-address"

    @property
    def types(self) -> list[str]:
        """The types of what arrived, without their prefix."""
        return [request.event["type"].removeprefix("dev.muster.") for request in self.requests]

    @property
    def sequences(self) -> list[int]:
        """The event numbers that arrived, in their order of arrival."""
        return [request.event["data"]["sequence"] for request in self.requests]

    async def wait_for(self, count: int) -> None:
        """Until so many requests have arrived."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                reply = await self._one(reader)
                if reply == HANG:
                    await asyncio.Event().wait()
                if reply == DIE:
                    break
                writer.write(reply)
                await writer.drain()
        writer.close()

    async def _one(self, reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (entry.partition(":") for entry in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        received = Received(line, headers, body)
        async with self.arrived:
            self.requests.append(received)
            self.arrived.notify_all()
        return self.behave(received)


@contextlib.asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        await receiver.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    receiver.scheme = "https" if tls else "http"
    try:
        yield receiver
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def verify(received: Received, secret: str, clock: Clock) -> Any:
    """Have the library check a signature, by the test's clock; raises WebhookVerificationError."""

    class Clocked(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return clock.now()

    with mock.patch.object(standardwebhooks.webhooks, "datetime", Clocked):
        return Webhook(secret).verify(received.body, received.headers)
