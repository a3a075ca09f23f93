"""Heartbeats whose head was read before mean the same as those that the HTTP parser reads."""

import asyncio
import json
import re
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.core import secrets
from app.core.errors import CredentialRefused, Overloaded
from app.core.settings import Settings
from app.heartbeats import heads
from app.heartbeats.beats import Beat
from app.heartbeats.committer import Answer, Committer, Reply
from app.heartbeats.heads import Heads, request_in
from app.heartbeats.lane import Fleet, HeartbeatLane
from app.heartbeats.protocol import HeartbeatProtocol

CREDENTIALS = [f"{uuid.UUID(int=number).hex}.{'secret' * number}" for number in (1, 2, 3)]
UNKNOWN = CREDENTIALS[2]
"""The one that the database knows nothing of."""
FULL = 13
"""A heartbeat with this sequence finds the queue full."""


class Forgetful(Heads):
    """Remembers nothing, so that the parser reads every head."""

    def remember(self, key: bytes, presented: secrets.Presented) -> None:
        """Don't."""


class Queue:
    """Stands for the committer: what it was given, and what it owes an answer."""

    def __init__(self) -> None:
        self.beats: list[Beat] = []
        self.waiting: list[tuple[Beat, Reply]] = []

    def submit(self, beat: Beat, reply: Reply) -> None:
        """Queue a heartbeat."""
        if beat.sequence == FULL:
            raise Overloaded("full", headers={"Retry-After": "1"})
        self.beats.append(beat)
        self.waiting.append((beat, reply))

    def answer(self) -> None:
        """Answer all that wait."""
        waiting, self.waiting = self.waiting, []
        for beat, reply in waiting:
            if reply.done():
                continue
            if beat.host == UNKNOWN.partition(".")[0]:
                reply.set_exception(CredentialRefused("unknown"))
            else:
                reply.set_result(Answer("now", beat.sequence, None, ()))


class Lane(HeartbeatLane):
    """Answers without chance."""

    def body(self, answer: Answer) -> bytes:
        """The generation alone, in which the queue tells the sequence."""
        return json.dumps({"generation": answer.generation}).encode()


class Wire(asyncio.Transport):
    """Keeps what the server sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_over = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing is known of the other side."""
        return default

    def write(self, data: Any) -> None:
        """Keep it."""
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.is_over

    def close(self) -> None:
        """End it."""
        self.is_over = True

    def pause_reading(self) -> None:
        """Whatever was received is handed over all the same."""

    def resume_reading(self) -> None:
        """See there."""


class Seen(NamedTuple):
    """What came of some bytes: the beats that were queued and the bytes that were sent."""

    beats: list[Beat]
    sent: list[str]


async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    """The rest of the application."""
    await PlainTextResponse(f"{scope['method']} {scope['path']}")(scope, receive, send)


class Server:
    """One application with several connections."""

    def __init__(self, connections: int, remembered: Heads) -> None:
        self.queue = Queue()
        self.lane = Lane(elsewhere, cast("Committer", self.queue), Fleet(Settings()))
        self.lane.heads = remembered
        config = uvicorn.Config(self.lane, log_config=None, access_log=False, proxy_headers=False)
        config.load()
        state, loop = ServerState(), asyncio.get_running_loop()
        self.wires = [Wire() for _ in range(connections)]
        self.protocols = [HeartbeatProtocol(config, state, {}, loop) for _ in self.wires]
        for protocol, wire in zip(self.protocols, self.wires, strict=True):
            protocol.connection_made(wire)

    async def receive(self, connection: int, data: bytes) -> None:
        """Take bytes in, as one read of a socket brings them."""
        if not self.wires[connection].is_over:
            self.protocols[connection].data_received(data)
        await turns()

    async def answer(self) -> None:
        """Answer what waits, and what waited behind that."""
        while self.queue.waiting:
            self.queue.answer()
            await turns()

    async def end(self) -> Seen:
        """Answer what is left and let the connections go."""
        await self.answer()
        for protocol in self.protocols:
            protocol.connection_lost(None)
        await turns()
        # A problem without a request id gets one by chance.
        sent = [re.sub(r"[0-9a-f-]{32,36}", "ID", wire.sent.decode()) for wire in self.wires]
        return Seen(self.queue.beats, sent)


async def turns() -> None:
    """Let the tasks of requests that take the long way end."""
    for _ in range(12):
        await asyncio.sleep(0)


def heartbeat(
    sequence: int,
    credential: str = CREDENTIALS[0],
    *headers: str,
    first: str = "POST /agent/v1/heartbeat HTTP/1.1",
    length: str = "Content-Length",
    content: bytes | None = None,
) -> bytes:
    """A request."""
    body = {"bootId": "boot", "sequence": sequence, "agentVersion": "9.62.7096.1"}
    content = json.dumps(body).encode() if content is None else content
    lines = [first, "Host: here", f"Authorization: Bearer {credential}", f"{length}: {len(content)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


_CARRIED = heartbeat(2)
SMUGGLER = heartbeat(1, first="POST /elsewhere HTTP/1.1", content=_CARRIED).removesuffix(_CARRIED)
"""Its body is a heartbeat, and it is answered before the body comes."""

SEQUENCES = st.sampled_from([1, 2, FULL, 99, 100, 123_456])
PLAIN = st.builds(heartbeat, SEQUENCES, st.sampled_from(CREDENTIALS))
ODD = st.one_of(
    st.builds(heartbeat, SEQUENCES, st.just(CREDENTIALS[0]), st.sampled_from(["X-Request-ID: mine", "Accept: */*"])),
    st.builds(heartbeat, SEQUENCES, length=st.sampled_from(["content-length", "CONTENT-LENGTH", "Content-Length "])),
    st.builds(heartbeat, SEQUENCES, st.sampled_from(["", "nonsense", "." * 40])),
    st.builds(heartbeat, SEQUENCES, st.just(CREDENTIALS[1]), st.just("Connection: close")),
    st.builds(
        heartbeat,
        SEQUENCES,
        st.just(CREDENTIALS[0]),
        st.sampled_from(["Content-Length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue", "Upgrade: h2c"]),
    ),
    st.builds(
        heartbeat,
        SEQUENCES,
        first=st.sampled_from(
            [
                "GET /agent/v1/heartbeat HTTP/1.1",
                "POST /agent/v1/heartbeat HTTP/1.0",
                "POST /agent/v1/heartbeat?a=1 HTTP/1.1",
                "POST /elsewhere HTTP/1.1",
                "POST /agent/v1/heartbeat HTTP/1.1\r\nX-A: Content-Length: 3",
            ]
        ),
    ),
    st.builds(heartbeat, SEQUENCES, content=st.sampled_from([b"", b"{", b"\r\n\r\n", b"null"])),
    st.sampled_from([b"\r\n", b"nonsense\r\n\r\n", b"POST /agent/v1/heartbeat HTTP/1.1\r\nContent-Length: x\r\n\r\n"]),
)


@st.composite
def segments(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Reads of two connections; nothing but an answer to all that waits stands where there are no bytes."""
    steps: list[tuple[int, bytes]] = []
    for _ in range(draw(st.integers(2, 10))):
        connection = draw(st.integers(0, 1))
        kind = draw(st.sampled_from(["plain", "plain", "plain", "odd", "pipeline", "cut"]))
        data = draw(PLAIN if kind in {"plain", "cut"} else ODD)
        if kind == "pipeline":
            data = draw(PLAIN) + draw(st.one_of(PLAIN, ODD))
        at = draw(st.integers(1, len(data))) if kind in {"cut", "pipeline"} and draw(st.booleans()) else len(data)
        steps += [(connection, part) for part in (data[:at], data[at:]) if part]
        if draw(st.integers(0, 3)):
            steps.append((connection, b""))
    return steps


async def seen(steps: Sequence[tuple[int, bytes]], remembered: Heads) -> Seen:
    """Let a server take all of it."""
    server = Server(2, remembered)
    for connection, data in steps:
        if data:
            await server.receive(connection, data)
        else:
            await server.answer()
    return await server.end()


@given(segments())
@example([(0, heartbeat(1)), (0, b""), (0, heartbeat(2, CREDENTIALS[0])), (0, b""), (1, heartbeat(3)), (1, b"")])
@example([(0, heartbeat(1)), (0, b""), (0, heartbeat(2)), (0, heartbeat(99) + heartbeat(100)), (0, b"")])
@example([(0, heartbeat(1)), (0, b""), (0, heartbeat(FULL)), (0, heartbeat(100)), (0, b"")])
@example([(0, heartbeat(1)), (0, b""), (0, SMUGGLER), (0, heartbeat(2)), (0, b""), (0, heartbeat(99)), (0, b"")])
def test_the_short_way_and_the_long_way_are_one(steps: list[tuple[int, bytes]]) -> None:
    known, forgetful = Heads(), Forgetful()
    assert asyncio.run(seen(steps, known)) == asyncio.run(seen(steps, forgetful))
    assert not len(forgetful)


async def test_a_head_that_was_accepted_needs_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[HeartbeatProtocol] = []
    whole = HeartbeatProtocol.on_headers_complete

    def noted(protocol: HeartbeatProtocol) -> None:
        parsed.append(protocol)
        whole(protocol)

    monkeypatch.setattr(HeartbeatProtocol, "on_headers_complete", noted)
    server = Server(2, Heads())
    for sequence in (9, 10, 1_000):
        await server.receive(0, heartbeat(sequence))
        assert server.protocols[0]._idle_since is None, "a connection with a heartbeat under way is not idle"
        await server.answer()
    await server.receive(1, heartbeat(1_001))
    await server.answer()
    assert parsed == [server.protocols[0]]
    await server.receive(1, heartbeat(1, CREDENTIALS[1]))
    await server.answer()
    assert parsed == server.protocols
    assert [beat.sequence for beat in server.queue.beats] == [9, 10, 1_000, 1_001, 1]
    assert [beat.host for beat in server.queue.beats] == [CREDENTIALS[0][:32]] * 4 + [CREDENTIALS[1][:32]]
    assert [wire.sent.count(b"200 OK") for wire in server.wires] == [3, 2]


async def test_what_is_refused_or_says_more_than_every_time_is_not_remembered() -> None:
    server = Server(1, Heads())
    for request in (
        heartbeat(1, UNKNOWN),
        heartbeat(FULL),
        heartbeat(1, content=b"{}"),
        heartbeat(1, CREDENTIALS[0], "X-Request-ID: mine"),
    ):
        await server.receive(0, request)
        await server.answer()
        assert not len(server.lane.heads), request
    await server.receive(0, heartbeat(1, CREDENTIALS[0], "Connection: close"))
    await server.answer()
    assert not len(server.lane.heads)
    assert server.wires[0].is_over


def test_what_is_remembered_is_bounded_and_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MAX_HEADS", 2)
    remembered = Heads()
    for number in range(7):
        secret = f"{uuid.UUID(int=number).hex}.secret"
        request = request_in(heartbeat(1, secret))
        presented = secrets.parse(secret)
        assert request is not None
        assert presented is not None
        remembered.remember(request.key, presented)
        assert remembered.get(request.key) == presented
        assert 1 <= len(remembered) <= 2
        assert "secret" not in repr(vars(remembered))


@pytest.mark.parametrize(
    "data",
    [
        heartbeat(1)[:-1],
        heartbeat(1) + b"P",
        heartbeat(1) + heartbeat(1),
        heartbeat(1).replace(b"Content-Length", b"content-length"),
        heartbeat(1).replace(b"Content-Length: ", b"Content-Length: +"),
        heartbeat(1, content=b" " * 65_537),
        heartbeat(1, content=b" " * 100_000),
        b"POST /agent/v1/heartbeat HTTP/1.1\r\nContent-Length: 0\r\n",
        b"\r\n\r\n",
        b"",
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_whatever_is_not_one_plain_request_is_left_to_the_parser(data: bytes) -> None:
    assert request_in(data) is None
