"""Threads that never keep a stopping agent alive."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class DaemonExecutor(ThreadPoolExecutor):
    """Runs every call in a daemon thread of its own.

    Name resolution in an outage and a hung disk can hold a thread for minutes. The usual pool is waited for
    when a process ends, so a stop by the service manager would end in a kill.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Start ``fn`` in a new daemon thread and return its future."""
        future: Future[Any] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to who waits for the future
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name="muster-agent-work", daemon=True).start()
        return future
