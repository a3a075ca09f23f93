"""Ends the renewals that agents have observed. Any number of replicas may look at once: each is ended by one."""

from app.configuration_servers import queries, requests
from app.core.clock import Clock
from app.core.db import Database

JOBS_PER_LOOK = 100


class Renewals:
    """Renewals of certificates, each in a transaction of its own."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def tick(self) -> int:
        """Returns how many renewals have ended."""
        async with self._database.read() as session:
            observed = await queries.observed_renewals(session, JOBS_PER_LOOK)
        ended = 0
        for job_id in observed:
            async with self._database.write() as session:
                ended += await requests.complete_renewal(session, job_id, self._clock.now())
        return ended
