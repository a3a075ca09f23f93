"""Rate limit of failed registrations: counted in the database, so that replicas share it."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import case, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from app.core.db import Database
from app.core.errors import TooManyRequests
from app.models import FailedRegistration


class Limit(NamedTuple):
    """At most `allowed` failures under `key` in a window; `speaks_of` names it to the client."""

    key: str
    allowed: int
    speaks_of: str


class Failures:
    """Counts failures per key in fixed windows of `window_seconds`."""

    def __init__(self, database: Database, window_seconds: float) -> None:
        self._database = database
        self._window = timedelta(seconds=window_seconds)

    async def check(self, limits: Sequence[Limit], now: datetime) -> None:
        """Raises TooManyRequests with Retry-After when one of `limits` is used up."""
        async with self._database.read() as session:
            rows = await session.execute(
                select(FailedRegistration).where(FailedRegistration.key.in_([limit.key for limit in limits]))
            )
            counted = {row.key: row for row in rows.scalars()}
        for limit in limits:
            row = counted.get(limit.key)
            if row is None or row.failures < limit.allowed or row.window_started_at + self._window <= now:
                continue
            wait = math.ceil((row.window_started_at + self._window - now).total_seconds())
            raise TooManyRequests(
                f"{limit.speaks_of} had {row.failures} failed registrations; try again in {wait} s",
                headers={"Retry-After": str(max(wait, 1))},
            )

    async def record(self, limits: Sequence[Limit], now: datetime) -> None:
        """Count one failure under each of `limits`, in a transaction of its own."""
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        expired = FailedRegistration.window_started_at <= now - self._window
        async with self._database.write() as session:
            for limit in sorted(limits):
                statement = insert(FailedRegistration).values(key=limit.key, window_started_at=now, failures=1)
                await session.execute(
                    statement.on_conflict_do_update(
                        index_elements=[FailedRegistration.key],
                        set_={
                            "failures": case((expired, 1), else_=FailedRegistration.failures + 1),
                            "window_started_at": case((expired, now), else_=FailedRegistration.window_started_at),
                        },
                    )
                )

    async def forget(self, now: datetime) -> int:
        """Delete windows that are over. Returns how many."""
        async with self._database.write() as session:
            statement = delete(FailedRegistration).where(FailedRegistration.window_started_at <= now - self._window)
            result: Any = await session.execute(statement)
            return int(result.rowcount)
