"""The sd_notify protocol on real sockets."""

import asyncio
import socket
import uuid
from pathlib import Path

import pytest

from app.agent.notify import ServiceNotifier


@pytest.mark.parametrize("is_abstract", [False, True])
def test_messages_reach_the_socket(is_abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"@muster-{uuid.uuid4()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if is_abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notifier = ServiceNotifier.from_environment()
        notifier.ready()
        notifier.status("two\nlines")
        notifier.stopping()
        messages = [manager.recv(1000) for _ in range(3)]
    assert messages == [b"READY=1\nSTATUS=Started", b"STATUS=two lines", b"STOPPING=1\nSTATUS=Stopping"]


async def test_the_watchdog_is_fed_at_half_its_period(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        notifier = ServiceNotifier.from_environment()
        assert notifier.watchdog_interval_seconds == 0.01
        feeding = asyncio.create_task(notifier.feed_watchdog())
        loop = asyncio.get_running_loop()
        assert [await loop.sock_recv(manager, 100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        feeding.cancel()


@pytest.mark.parametrize(("usec", "pid"), [("", ""), ("x", ""), ("0", ""), ("-5", ""), ("20000", "1")])
def test_without_a_watchdog_of_our_own_none_is_fed(usec: str, pid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert ServiceNotifier.from_environment().watchdog_interval_seconds is None


async def test_without_a_service_manager_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = ServiceNotifier.from_environment()
    assert not notifier.send("READY=1")
    await ServiceNotifier(None, 5.0).feed_watchdog()
    assert not ServiceNotifier(str(tmp_path / "nobody")).send("READY=1")
