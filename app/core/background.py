"""Background tasks: idempotent, without input, activated by time; a failing one is logged and tried again."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from app.core.clock import Clock
from app.core.errors import Unavailable
from app.core.metrics import BACKGROUND_FAILURES, BACKGROUND_LAST_SUCCESS
from app.core.tracing import span

log = structlog.get_logger("muster.background")


class BackgroundTask:
    """Runs `tick` every `interval_seconds` until stopped. `last_success` is when it last worked."""

    def __init__(self, name: str, interval_seconds: float, tick: Callable[[], Awaitable[object]], clock: Clock) -> None:
        self.name = name
        self.interval_seconds = interval_seconds
        self.last_success: datetime | None = None
        self.last_error: str | None = None
        self._tick = tick
        self._clock = clock

    async def run_once(self) -> None:
        """One tick, as the loop does it; never raises but when cancelled."""
        try:
            with span(f"task {self.name}"):
                await self._tick()
        except Unavailable as error:
            BACKGROUND_FAILURES.labels(self.name).inc()
            self.last_error = error.detail
            log.warning("background task waits for the database", task=self.name, error=error.detail)
        except Exception as error:
            BACKGROUND_FAILURES.labels(self.name).inc()
            self.last_error = f"{type(error).__name__}: {error}"
            log.error("background task failed", task=self.name, exc_info=error)
        else:
            self.last_success = self._clock.now()
            self.last_error = None
            BACKGROUND_LAST_SUCCESS.labels(self.name).set(self.last_success.timestamp())

    async def run(self) -> None:
        """Tick until cancelled."""
        # What has not failed yet is 0, and what has not succeeded yet is as old as the process.
        BACKGROUND_FAILURES.labels(self.name)
        BACKGROUND_LAST_SUCCESS.labels(self.name).set(self._clock.now().timestamp())
        while True:
            await self.run_once()
            await asyncio.sleep(self.interval_seconds)


class Background:
    """The tasks of one process, with one life: start, stop."""

    def __init__(self, tasks: list[BackgroundTask]) -> None:
        self.tasks = {task.name: task for task in tasks}
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Run every task beside the others."""
        self._running = [asyncio.create_task(task.run(), name=task.name) for task in self.tasks.values()]

    async def stop(self) -> None:
        """Cancel every task and wait until it has let go of what it held."""
        for running in self._running:
            running.cancel()
        for running in self._running:
            with contextlib.suppress(asyncio.CancelledError):
                await running
        self._running.clear()
