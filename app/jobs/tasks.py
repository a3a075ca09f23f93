"""Ends the jobs that wait in vain. Any number of replicas may look at once: each job is ended by one."""

from app.core.clock import Clock
from app.core.db import Database
from app.jobs import observations


class Orphans:
    """Jobs whose server was removed, or was asked for something and is disconnected."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def tick(self) -> int:
        """Returns how many jobs have failed."""
        async with self._database.read() as session:
            if not await observations.has_orphans(session):
                return 0
        async with self._database.write() as session:
            return await observations.fail_orphans(session, self._clock.now())
