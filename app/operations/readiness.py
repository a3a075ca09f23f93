"""Whether this process can serve: database, schema, monitor."""

from datetime import timedelta
from typing import Any

from app import __version__
from app.connection import queries as connection_queries
from app.core import migrations
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import DatabaseUnavailable, NotReady
from app.core.settings import Settings
from app.operations.schemas import Ready

MINIMUM_LAG_SECONDS = 30


async def check(state: Any) -> Ready:
    """The present readiness. Raises NotReady with every reason.

    The monitor is judged by the watermark in the database, so that a replica whose monitor does not lead knows
    whether any does.
    """
    database: Database = state.database
    clock: Clock = state.clock
    settings: Settings = state.settings
    wanted = migrations.head()
    try:
        revision = await migrations.current(database)
        if revision is None or migrations.is_behind(revision):
            raise _not_ready(
                f"the database is at revision {revision}, this version needs {wanted}: run 'muster migrate'"
            )
        async with database.read() as session:
            observed_until = await connection_queries.observed_until(session)
    except DatabaseUnavailable as error:
        raise _not_ready(error.detail) from error
    now = clock.now()
    allowed = timedelta(seconds=max(MINIMUM_LAG_SECONDS, 4 * settings.effective_tick_seconds))
    if observed_until is None or now - observed_until > allowed:
        age = "never" if observed_until is None else f"{(now - observed_until).total_seconds():.0f} s ago"
        raise _not_ready(f"the monitor last looked for silent servers {age}; no replica's monitor works")
    return Ready(status="ready", version=__version__, revision=revision, observed_until=observed_until, server_time=now)


def _not_ready(reason: str) -> NotReady:
    return NotReady(reason, headers={"Retry-After": "5"}, reasons=[reason])
