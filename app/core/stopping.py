"""Knowing at once that the process is to stop.

A server tells the application so only after every open answer has ended. That is too late for answers that end by
themselves never.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def announced_stop(notice: Callable[[], None]) -> Iterator[None]:
    """Have `notice` called in the running event loop as soon as the server hears SIGINT or SIGTERM.

    The server's own handlers run as before. Signals that it does not handle, and servers in another than the main
    thread, are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(notice)
        handlers[number](number, frame)

    for number in SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):
            handlers[number] = handler
            signal.signal(number, heard)
    try:
        yield
    finally:
        for signalled, former in handlers.items():
            if signal.getsignal(signalled) is heard:
                signal.signal(signalled, former)
