"""The only reader of time.

Liveness must not depend on the clocks of API hosts, so on PostgreSQL the time is the database's: this
host's monotonic clock plus an offset measured against the database. On SQLite the host is the database.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol

from fastapi import Depends, Request

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What product code may know of time."""

    def now(self) -> datetime:
        """The present moment by the database's clock: timezone-aware UTC."""

    def monotonic(self) -> float:
        """Seconds that only ever rise; for durations and deadlines inside one process."""

    @property
    def is_measured(self) -> bool:
        """Whether `now` is the database's time already, rather than this host's."""


class SystemClock:
    """The real clock. `synchronise` moves it onto the database's."""

    def __init__(self) -> None:
        self._offset_seconds: float | None = None

    def now(self) -> datetime:
        """The database's time once synchronised, this host's wall clock before."""
        if self._offset_seconds is None:
            return datetime.now(UTC)  # noqa: TID251
        return EPOCH + timedelta(seconds=time.monotonic() + self._offset_seconds)

    def monotonic(self) -> float:
        """Seconds of this host's monotonic clock."""
        return time.monotonic()

    @property
    def is_measured(self) -> bool:
        """False until the first `synchronise`."""
        return self._offset_seconds is not None

    def synchronise(self, database_now: datetime, before: float, after: float) -> float:
        """Take over `database_now`, read between the monotonic instants `before` and `after`.

        Returns the correction in seconds (0.0 the first time). Half the round trip is the error's bound.
        """
        offset = (database_now - EPOCH).total_seconds() - (before + after) / 2
        correction = 0.0 if self._offset_seconds is None else offset - self._offset_seconds
        self._offset_seconds = offset
        return correction


class ManualClock:
    """A clock that tests move by hand."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 1000.0

    def now(self) -> datetime:
        """The moment the test has set."""
        return self._now

    def monotonic(self) -> float:
        """Rises with `advance` alone."""
        return self._monotonic

    @property
    def is_measured(self) -> bool:
        """A test's time is everybody's."""
        return True

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += max(seconds, 0.0)


def _clock_of(request: Request) -> Clock:
    clock: Clock = request.app.state.clock
    return clock


async def _now(request: Request) -> datetime:
    return _clock_of(request).now()


Now = Annotated[datetime, Depends(_now)]
"""The moment of the request, for handlers to hand on."""
