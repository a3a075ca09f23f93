"""A control plane, a clock and a machine under the test's hand."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from app.agent.heartbeat import Agent
from app.agent.state import Identity, Json, Settings, State
from app.agent.store import MemoryStateStore
from app.agent.telemetry import Reading

URL = "https://control.example"
CREDENTIAL = "0192f0c1.first-credential"
START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

Answer = httpx.Response | Exception


class FakeClock:
    """Time that passes only by sleeping, at once."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.elapsed

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.elapsed += seconds
        await asyncio.sleep(0)


class FakeSource:
    """Telemetry as the test sets it."""

    def __init__(self) -> None:
        self.reading = Reading({"cpuPercentage": 12.5}, None, ("10.0.0.9",))
        self.error: Exception | None = None

    async def read(self) -> Reading:
        if self.error is not None:
            raise self.error
        return self.reading


class ControlPlane:
    """Records every request and answers from a list, then by ``default``; counts the connections opened."""

    def __init__(self, *answers: Answer, default: Callable[[], Answer] | None = None) -> None:
        self.answers = list(answers)
        self.default = default or acknowledged
        self.requests: list[httpx.Request] = []
        self.clients = 0
        self.on_request: Callable[[], None] = lambda: None

    @property
    def bodies(self) -> list[Json]:
        return [json.loads(request.content) for request in self.requests]

    def connect(self) -> httpx.AsyncClient:
        self.clients += 1
        return httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.on_request()
        answer = self.answers.pop(0) if self.answers else self.default()
        if isinstance(answer, Exception):
            raise answer
        return answer


def acknowledged(**members: Any) -> httpx.Response:
    """Return the answer to a heartbeat that was taken."""
    answer = {
        "serverTime": "2026-11-24T12:00:00Z",
        "nextHeartbeatSeconds": 30,
        "generation": 0,
        "notices": [],
    }
    return httpx.Response(200, json=answer | members)


def problem(
    status: int, code: str = "some-code", headers: dict[str, str] | None = None, **members: Any
) -> httpx.Response:
    """Return an error as the control plane answers it."""
    document = {
        "type": "about:blank",
        "title": "Some title",
        "status": status,
        "detail": "Some detail.",
        "code": code,
    }
    return httpx.Response(
        status,
        content=json.dumps(document | members),
        headers={"Content-Type": "application/problem+json", **(headers or {})},
    )


def registered_state(**changes: Any) -> State:
    """Return the state of a registered process server."""
    members: dict[str, Any] = {
        "host_id": "host-1",
        "instance_id": "instance-1",
        "settings": Settings(url=URL),
        "identity": Identity(
            id="ps-id",
            vault="prod",
            configuration_server="cs-ams",
            name="ps-ams-01",
            server_mode="PS",
            kind="scaleOut",
            interval_seconds=30.0,
            timeout_seconds=900.0,
            registered_at="2026-11-24T11:00:00Z",
            credential=CREDENTIAL,
        ),
    }
    return State(**(members | changes))


class Bench:
    """One agent with everything around it in the test's hand."""

    def __init__(self, *answers: Answer, default: Callable[[], Answer] | None = None) -> None:
        self.control_plane = ControlPlane(*answers, default=default)
        self.clock = FakeClock()
        self.source = FakeSource()
        self.store = MemoryStateStore(registered_state())
        self.chance = 0.5
        self.statuses: list[str] = []

    def agent(self, **options: Any) -> Agent:
        return Agent(
            self.store,
            self.source,
            connect=self.control_plane.connect,
            clock=self.clock,
            chance=lambda: self.chance,
            on_status=self.statuses.append,
            **options,
        )

    def saved(self) -> State:
        state = self.store.load()
        assert state is not None
        return state
