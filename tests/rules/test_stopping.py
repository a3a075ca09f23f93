"""Hearing at once that the process is to stop, and leaving the server's handlers as they were."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from app.core.stopping import announced_stop

Heard = list[str]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What was called, the server's handler of SIGTERM first of all."""
    called: Heard = []
    former = signal.signal(signal.SIGTERM, lambda *_: called.append("server"))
    yield called
    signal.signal(signal.SIGTERM, former)


async def test_the_notice_comes_with_the_signal_and_the_server_hears_it_too(heard: Heard) -> None:
    servers = signal.getsignal(signal.SIGTERM)
    noticed = asyncio.Event()
    with announced_stop(noticed.set):
        signal.raise_signal(signal.SIGTERM)
        await noticed.wait()
        assert heard == ["server"]
    assert signal.getsignal(signal.SIGTERM) is servers


async def test_signals_that_the_server_leaves_alone_are_left_alone(heard: Heard) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with announced_stop(lambda: heard.append("notice")):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


async def test_another_thread_than_the_main_one_hears_nothing(heard: Heard) -> None:
    servers = signal.getsignal(signal.SIGTERM)

    async def serve() -> object:
        with announced_stop(lambda: heard.append("notice")):
            return signal.getsignal(signal.SIGTERM)

    assert await asyncio.to_thread(lambda: asyncio.run(serve())) is servers
