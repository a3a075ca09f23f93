"""Agents that run: their waits, their end, and many of them at once."""

import asyncio

import httpx

from app.agent.heartbeat import Agent
from app.agent.outcomes import ExitReason
from app.agent.store import MemoryStateStore
from app.agent.wire import open_client

from .fakes import (
    URL,
    Bench,
    ControlPlane,
    FakeClock,
    FakeSource,
    acknowledged,
    problem,
    registered_state,
)


async def test_run_waits_as_long_as_it_is_told() -> None:
    bench = Bench(acknowledged(nextHeartbeatSeconds=17), acknowledged(nextHeartbeatSeconds=41.5), problem(401))
    await bench.agent(first_delay_seconds=3.25).run()
    assert bench.clock.sleeps == [3.25, 17, 41.5]


class EndlessClock(FakeClock):
    """A clock whose sleep never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeping = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.sleeping.set()
        await asyncio.Event().wait()


async def test_stop_ends_a_sleep() -> None:
    bench = Bench()
    bench.clock = clock = EndlessClock()
    agent = bench.agent()
    running = asyncio.create_task(agent.run())
    await clock.sleeping.wait()
    agent.stop()
    assert await running is ExitReason.STOPPED


async def test_stop_ends_a_request() -> None:
    received = asyncio.Event()

    async def never_answer(request: httpx.Request) -> httpx.Response:
        received.set()
        await asyncio.Event().wait()
        raise AssertionError

    agent = Agent(
        MemoryStateStore(registered_state()),
        FakeSource(),
        connect=lambda: open_client(URL, transport=httpx.MockTransport(never_answer)),
    )
    running = asyncio.create_task(agent.run())
    await received.wait()
    agent.stop()
    assert await running is ExitReason.STOPPED
    assert agent.acknowledged_sequence == 0


async def test_two_hundred_agents_run_in_one_process() -> None:
    control_plane = ControlPlane()
    clock = FakeClock()
    agents = [
        Agent(MemoryStateStore(registered_state()), FakeSource(), connect=control_plane.connect, clock=clock)
        for _ in range(200)
    ]
    running = [asyncio.create_task(agent.run()) for agent in agents]
    clock_stopped = asyncio.Event()

    def stop_after_three_rounds() -> None:
        if all(agent.acknowledged_sequence >= 3 for agent in agents):
            clock_stopped.set()

    control_plane.on_request = stop_after_three_rounds
    await clock_stopped.wait()
    for agent in agents:
        agent.stop()
    assert set(await asyncio.gather(*running)) == {ExitReason.STOPPED}
    assert len({body["bootId"] for body in control_plane.bodies}) == 200
