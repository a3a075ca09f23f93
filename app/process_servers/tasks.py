"""Ends maintenance whose time is up. Any number of replicas may look at once: each end is told by one."""

import uuid
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock
from app.core.db import Database
from app.core.wire import rfc3339
from app.events.service import MONITOR, record
from app.hosts import queries as host_queries
from app.process_servers import queries
from app.process_servers.service import resource_of
from app.vocabulary import EventType

SERVERS_PER_LOOK = 200


class MaintenanceEnds:
    """Servers come out of maintenance by themselves, wherever they are in their lives.

    Whoever asks in between is answered by the time all the same (`rules.is_in_maintenance`); this makes the record
    say so: an event, a revision, and the agent's desired state.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def tick(self) -> int:
        """Returns how many maintenances have ended."""
        now = self._clock.now()
        async with self._database.read() as session:
            due = await queries.ended_maintenances(session, now, SERVERS_PER_LOOK)
        ended = 0
        for server_id in due:
            async with self._database.write() as session:
                ended += await _end(session, server_id, self._clock.now())
        return ended


async def _end(session: AsyncSession, server_id: uuid.UUID, now: datetime) -> bool:
    # Parent before child, as a registration locks them.
    await queries.lock_site_of(session, server_id)
    server = await queries.lock(session, server_id)
    # Somebody may have prolonged or ended it since it was found.
    if server is None or not server.is_drained or server.maintenance_until is None or server.maintenance_until > now:
        return False
    host = await host_queries.lock(session, server.host_row_id)
    host.generation += 1
    told = {"until": rfc3339(server.maintenance_until), "reason": server.maintenance_reason}
    server.is_drained, server.maintenance_until, server.maintenance_reason = False, None, None
    server.revision += 1
    server.updated_at = now
    record(
        session,
        server.vault_id,
        now,
        EventType.PROCESS_SERVER_MAINTENANCE_ENDED,
        resource_of(server),
        actor=MONITOR,
        message=f"the maintenance of process server {server.name} has ended: it was until {told['until']}",
        data=told,
    )
    return True
