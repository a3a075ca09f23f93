"""Clients of event streams: one inside the test's process, one over a socket.

The first drives the application itself, because httpx's ASGI transport waits for the end of an answer, which a stream
does not have; it also can stop taking what is sent, as a stalled client does.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from app.events import queries
from app.events.hub import EventHub
from app.events.stream import KEEP_ALIVE_SECONDS
from app.main import Muster
from tests.support.muster import ADMIN_TOKEN, Site
from tests.support.records import record_events

EVENTS = "/api/v1/vaults/contoso/events"


class Frame(NamedTuple):
    """What stands between two empty lines of a stream."""

    id: int | None = None
    event: str | None = None
    data: Any = None
    retry: int | None = None
    comment: str | None = None


def frame_of(text: str) -> Frame:
    """Parse one frame, strictly: nothing but what Muster may send."""
    members: dict[str, Any] = {}
    for line in text.split("\n"):
        name, mark, value = line.partition(": ")
        assert mark, f"not a line of an event stream: {line!r}"
        name = name or "comment"
        assert name in Frame._fields, line
        assert name not in members, f"{name} stands twice in {text!r}"
        members[name] = value
    for name, read in (("id", int), ("retry", int), ("data", json.loads)):
        if name in members:
            members[name] = read(members[name])
    return Frame(**members)


class Follower:
    """A client of one stream of an application in this process. Use it as a context manager."""

    def __init__(
        self,
        app: Muster,
        last_event_id: object = None,
        *,
        vault: str = "contoso",
        token: str = ADMIN_TOKEN,
        is_stalled: bool = False,
        **query: Any,
    ) -> None:
        self._app = app
        headers = [(b"host", b"muster.test"), (b"authorization", f"Bearer {token}".encode())]
        if last_event_id is not None:
            headers.append((b"last-event-id", str(last_event_id).encode()))
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/api/v1/vaults/{vault}/events/stream",
            "raw_path": f"/api/v1/vaults/{vault}/events/stream".encode(),
            "root_path": "",
            "query_string": urlencode(query, doseq=True).encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("muster.test", 80),
        }
        self._takes = asyncio.Event()
        if not is_stalled:
            self._takes.set()
        self._gone = asyncio.Event()
        self._started = asyncio.Event()
        self._is_asked = False
        self._rest = ""
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_complete = False
        """Whether the application ended the answer in good order."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        await self._started.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Disconnect, and wait until the application has noticed."""
        self._gone.set()
        self._takes.set()
        assert self._task is not None
        await self._task

    def stall(self) -> None:
        """Take nothing more."""
        self._takes.clear()

    def go_on(self) -> None:
        """Take what comes again."""
        self._takes.set()

    async def frame(self) -> Frame:
        """The next frame."""
        found = await self._frames.get()
        assert found is not None, "the stream ended"
        return found

    async def event(self) -> dict[str, Any]:
        """The next event: comments and frames that only have an id are passed over."""
        while (found := await self.frame()).data is None:
            pass
        assert (found.id, found.event) == (found.data["sequence"], found.data["type"])
        return dict(found.data)

    async def events(self, count: int) -> list[int]:
        """The numbers of the next `count` events."""
        return [(await self.event())["sequence"] for _ in range(count)]

    async def rest(self) -> list[Frame]:
        """All frames until the stream ends by itself."""
        found = []
        while (entry := await self._frames.get()) is not None:
            found.append(entry)
        return found

    @property
    def waiting(self) -> int:
        """Frames that came and were not looked at."""
        return self._frames.qsize()

    @property
    def problem(self) -> dict[str, Any]:
        """The answer of a stream that was refused."""
        assert self.headers["content-type"] == "application/problem+json"
        return dict(json.loads(self._rest))

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        finally:
            self._frames.put_nowait(None)
            self._started.set()

    async def _receive(self) -> dict[str, Any]:
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            if self.status == 200:
                self._started.set()
            return
        await self._takes.wait()
        if self._gone.is_set():
            return
        self._rest += message.get("body", b"").decode()
        self.is_complete = not message.get("more_body", False)
        if self.status == 200:
            *whole, self._rest = self._rest.split("\n\n")
            for text in whole:
                self._frames.put_nowait(frame_of(text))


def request_of(path: str, last_event_id: int | None = None, token: str = ADMIN_TOKEN) -> bytes:
    """What a client of a stream sends."""
    lines = [f"GET {path} HTTP/1.1", "Host: muster.test", f"Authorization: Bearer {token}"]
    if last_event_id is not None:
        lines.append(f"Last-Event-ID: {last_event_id}")
    return "\r\n".join([*lines, "", ""]).encode()


class SocketFollower:
    """A client over a socket that costs little, so that a test can have a thousand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ready: list[Frame] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, port: int, path: str, last_event_id: int | None = None, token: str = ADMIN_TOKEN
    ) -> AsyncIterator[Self]:
        """Connect and wait for the head of the answer, which must be a stream."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_of(path, last_event_id, token))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    async def frame(self) -> Frame | None:
        """The next frame; None at the end of the answer. A chunk holds whole frames, as Muster sends them."""
        if not self._ready:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            chunk = (await self._reader.readexactly(size + 2)).decode().removesuffix("\r\n")
            if not chunk:
                return None
            assert chunk.endswith("\n\n"), chunk
            self._ready += map(frame_of, chunk.removesuffix("\n\n").split("\n\n"))
        return self._ready.pop(0)

    async def event(self) -> int:
        """The number of the next event."""
        while (found := await self.frame()) is not None:
            if found.data is not None:
                assert (found.id, found.event) == (found.data["sequence"], found.data["type"])
                return int(found.data["sequence"])
        raise AssertionError("the stream ended")

    async def ends(self) -> bool:
        """Whether the answer ends in good order and without another event."""
        while (found := await self.frame()) is not None:
            assert found.data is None, found
        return True


def hub_of(site: Site) -> EventHub:
    """The streams of a replica."""
    hub: EventHub = site.app.state.event_hub
    return hub


async def write(site: Site, count: int, **variety: Any) -> None:
    """Record `count` events through the application's own database."""
    await record_events(site.app.state.database, site.clock, count, **variety)


async def last_number(site: Site) -> int:
    """The number of the vault's newest event."""
    newest = await site.client.get(EVENTS, params={"orderBy": "-sequence", "limit": 1})
    return int(newest.json()["items"][0]["sequence"])


async def let_pass(site: Site, seconds: float) -> None:
    """Let time pass and have the streams look at it once."""
    site.manual_clock.advance(seconds)
    await hub_of(site).tick()


async def settled(site: Site) -> None:
    """Wait until every stream has dealt with what was written until now."""
    channels = hub_of(site)._channels
    async with site.app.state.database.read() as session:
        last = await queries.last_numbers(session, list(channels))
    for vault_id, channel in channels.items():
        while channel.window.head < last[vault_id] or any(
            stream.position < last[vault_id] or stream._sending_since for stream in channel.streams
        ):
            await asyncio.sleep(0.001)


async def nothing_more(site: Site, stream: Follower) -> Frame:
    """The next thing the stream says is that it lives; fails if an event comes before. Returns that frame."""
    await settled(site)
    while True:
        while not stream.waiting:
            await let_pass(site, KEEP_ALIVE_SECONDS)
            await asyncio.sleep(0.001)
        frame = await stream.frame()
        if frame.comment is not None:
            return frame
        assert frame.data is None, f"not expected any more: {frame}"
