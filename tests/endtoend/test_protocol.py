"""Heartbeats over real connections: keep-alive, pipelines, parts, refusals, clients that leave."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from app.heartbeats.protocol import HeartbeatProtocol
from tests.support.muster import VERSION, machine
from tests.support.server import ADMIN_TOKEN, MusterServer


class Answer(NamedTuple):
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: Any


class Line:
    """A raw connection to the server."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def answer(self) -> Answer:
        """The next response."""
        head = self._take(lambda: self.received.find(b"\r\n\r\n") + 4)
        first, *lines = head.decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers["content-length"])
        body = self._take(lambda: length if len(self.received) >= length else 3)
        return Answer(int(first.split()[1]), headers, json.loads(body) if body else None)

    def _take(self, end: Any) -> bytes:
        while (at := end()) <= 3:
            data = self.socket.recv(65_536)
            if not data:
                raise ConnectionError(f"closed after {self.received!r}")
            self.received += data
        taken, self.received = self.received[:at], self.received[at:]
        return taken

    def is_closed(self) -> bool:
        """Whether the server ends the connection, nothing more having come."""
        return self.socket.recv(1) == b""


class Loop(asyncio.SelectorEventLoop):
    """A loop whose time is moved by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.timers: list[tuple[float, Any]] = []

    def time(self) -> float:
        """The time that was set."""
        return self.now

    def call_later(self, delay: float, callback: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        """Remember a timer."""
        self.timers.append((self.now + delay, callback))
        return asyncio.TimerHandle(self.now + delay, callback, (), self)

    def advance(self, seconds: float) -> None:
        """Let time pass and timers ring."""
        end = self.now + seconds
        while due := sorted(timer for timer in self.timers if timer[0] <= end):
            self.timers.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = end


class Agent:
    """Writes heartbeats of one registered server."""

    def __init__(self, server: MusterServer) -> None:
        self.server = server
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as client:
            client.post("/api/v1/vaults", json={"name": "contoso", "location": "weu"}).raise_for_status()
            key = client.post("/api/v1/vaults/contoso/registration-keys").json()["registrationKey"]
            body = {"registrationKey": key, **machine("cs-1")}
            registered = httpx.post(f"{server.url}/agent/v1/configuration-servers/register", json=body)
            self.credential = registered.json()["credential"]
        self.sequence = 0

    def request(self, *headers: str, version: str = "1.1", credential: str | None = None, **members: Any) -> bytes:
        """The next heartbeat as bytes."""
        self.sequence += 1
        body = {"bootId": "boot", "sequence": self.sequence, "agentVersion": VERSION, **members}
        content = json.dumps(body).encode()
        lines = [
            f"POST /agent/v1/heartbeat HTTP/{version}",
            "Host: here",
            f"Authorization: Bearer {credential or self.credential}",
            f"Content-Length: {len(content)}",
            *headers,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + content

    def stored(self) -> int:
        """The sequence that the server has."""
        answer = httpx.get(
            f"{self.server.url}/api/v1/vaults/contoso/configuration-servers/cs-1",
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        )
        return int(answer.json()["sequence"])


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A server on SQLite and one registered configuration server."""
    server = MusterServer(Path(tmp_path_factory.mktemp("protocol")))
    server.start()
    yield Agent(server)
    server.stop()


@pytest.fixture
def line(agent: Agent) -> Iterator[Line]:
    """A connection."""
    with Line(agent.server.port) as opened:
        yield opened


def test_many_heartbeats_of_one_connection(agent: Agent, line: Line) -> None:
    for number in range(20):
        line.send(agent.request("X-Request-ID: mine" if number % 2 else "X-Request-ID: not fit, since it has spaces"))
        answer = line.answer()
        assert answer.status == 200
        assert set(answer.body) >= {"serverTime", "nextHeartbeatSeconds", "generation", "notices"}
        assert answer.headers["content-type"] == "application/json"
        assert "date" in answer.headers
        assert (answer.headers["x-request-id"] == "mine") == bool(number % 2)
    assert agent.stored() == agent.sequence


def test_a_heartbeat_in_parts(agent: Agent, line: Line) -> None:
    for byte in agent.request(services={"tmansvc": "Running"}):
        line.send(bytes([byte]))
    assert line.answer().status == 200
    assert agent.stored() == agent.sequence


def test_a_heartbeat_in_chunks(agent: Agent, line: Line) -> None:
    head, body = agent.request().split(b"\r\n\r\n", 1)
    head = b"\r\n".join(entry for entry in head.split(b"\r\n") if not entry.startswith(b"Content-Length"))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:]))
    line.send(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert line.answer().status == 200
    assert agent.stored() == agent.sequence


def test_a_pipeline_of_heartbeats_and_other_requests_is_answered_in_order(agent: Agent, line: Line) -> None:
    other = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
    line.send(agent.request() + other + agent.request() + agent.request() + other)
    answers = [line.answer() for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    assert ["serverTime" in answer.body for answer in answers] == [True, False, True, True, False]
    assert agent.stored() == agent.sequence


def test_refusals_are_problems_and_the_connection_goes_on(agent: Agent, line: Line) -> None:
    line.send(agent.request("X-Request-ID: mine", credential=agent.credential[:-1] + "?"))
    refused = line.answer()
    assert (refused.status, refused.body["code"]) == (401, "credential-refused")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.body["requestId"] == refused.headers["x-request-id"] == "mine"
    line.send(agent.request(sequence="one"))
    assert line.answer().status == 422
    line.send(agent.request().replace(b'{"bootId"', b"{bootId: "))
    assert line.answer().status == 400
    line.send(agent.request())
    assert line.answer().status == 200
    assert agent.stored() == agent.sequence


@pytest.mark.parametrize("cut", [5, 60, 150, -3])
def test_a_refusal_while_the_next_request_is_on_its_way(agent: Agent, line: Line, cut: int) -> None:
    unknown = agent.credential[:-4] + ("aaaa" if not agent.credential.endswith("aaaa") else "bbbb")
    following = agent.request("X-Request-ID: mine")
    line.send(agent.request("X-Request-ID: other", credential=unknown) + following[:cut])
    refused = line.answer()
    assert (refused.status, refused.headers["x-request-id"]) == (401, "other")
    line.send(following[cut:])
    answer = line.answer()
    assert (answer.status, answer.headers["x-request-id"]) == (200, "mine")


def test_what_is_out_of_the_ordinary_takes_the_long_way(agent: Agent, line: Line) -> None:
    head, body = agent.request("Expect: 100-continue").split(b"\r\n\r\n", 1)
    line.send(head + b"\r\n\r\n")
    assert line.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    line.send(body)
    assert line.answer().status == 200
    line.send(b"GET /agent/v1/heartbeat HTTP/1.1\r\nHost: here\r\n\r\n")
    assert line.answer().status == 405


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_413(agent: Agent, line: Line, announced: bool) -> None:
    content = agent.request(services={f"s{number}": "R" * 30 for number in range(5000)})
    if not announced:
        head, body = content.split(b"\r\n\r\n", 1)
        head = b"\r\n".join(entry for entry in head.split(b"\r\n") if not entry.startswith(b"Content-Length"))
        content = head + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    line.send(content)
    answer = line.answer()
    assert (answer.status, answer.body["code"]) == (413, "body-too-large")


@pytest.mark.parametrize(("version", "header"), [("1.0", "X-Nothing: 1"), ("1.1", "Connection: close")])
def test_a_client_that_wants_no_further_answers_is_let_go(agent: Agent, line: Line, version: str, header: str) -> None:
    line.send(agent.request(header, version=version))
    answer = line.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert line.is_closed()


def test_clients_that_leave_before_their_answer_disturb_nobody(agent: Agent, line: Line) -> None:
    for whole in (True, False):
        with Line(agent.server.port) as short:
            short.send(agent.request()[: None if whole else -5])
    line.send(agent.request())
    assert line.answer().status == 200
    assert agent.stored() == agent.sequence


def test_what_is_no_http_is_a_problem_too(agent: Agent, line: Line) -> None:
    line.send(agent.request("X-Broken: \x00"))
    answer = line.answer()
    assert (answer.status, answer.body["code"]) == (400, "malformed-request")
    assert answer.headers["content-type"] == "application/problem+json"
    assert line.is_closed()


async def test_an_idle_connection_is_closed_after_the_keep_alive_time_and_a_busy_one_is_not() -> None:
    closed: list[str] = []

    class Transport(asyncio.Transport):
        def is_closing(self) -> bool:
            return bool(closed)

        def close(self) -> None:
            closed.append("closed")

        def get_extra_info(self, _name: str, default: Any = None) -> Any:
            return default

    config = uvicorn.Config(lambda _scope: None, timeout_keep_alive=5, log_config=None)
    loop = Loop()
    protocol = HeartbeatProtocol(config, ServerState(), {}, loop)
    protocol.connection_made(Transport())
    for _ in range(3):
        protocol.on_response_complete()
        loop.advance(4)
        protocol._unset_keepalive_if_required()
    assert not closed, "each request begins the time anew"
    loop.advance(60)
    assert not closed, "a request is under way"
    protocol.on_response_complete()
    assert len(loop.timers) == 1
    loop.advance(4.9)
    assert not closed
    loop.advance(0.2)
    assert closed == ["closed"]
    loop.close()
