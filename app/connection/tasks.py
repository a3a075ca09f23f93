"""The monitor: finds silent servers. One of all replicas' monitors leads; the others wait for its place."""

import time
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.connection import queries
from app.connection.rules import gap_between, silent_since
from app.core.clock import EPOCH, Clock
from app.core.db import Database
from app.core.leadership import Leadership
from app.core.metrics import MONITOR_LEADER, SERVERS_DISCONNECTED, SWEEP_SECONDS
from app.core.settings import Settings
from app.core.wire import rfc3339
from app.events.service import MONITOR, record
from app.health import service as alerts
from app.models import Outage
from app.vocabulary import EventType, ResourceKind, Severity

DISCONNECTIONS_PER_TRANSACTION = 500
log = structlog.get_logger("muster.monitor")

_DISCONNECTED = {
    ResourceKind.CONFIGURATION_SERVER: EventType.CONFIGURATION_SERVER_DISCONNECTED,
    ResourceKind.PROCESS_SERVER: EventType.PROCESS_SERVER_DISCONNECTED,
}


class Monitor:
    """Looks for silence every tick, while it leads."""

    def __init__(self, database: Database, clock: Clock, settings: Settings, leadership: Leadership) -> None:
        self._database = database
        self._clock = clock
        self._tick_seconds = settings.effective_tick_seconds
        self._timeout = timedelta(seconds=settings.heartbeat_timeout_seconds)
        self._leadership = leadership

    async def tick(self) -> int:
        """One look. Returns how many hosts became disconnected; 0 where another monitor leads."""
        try:
            is_leader = await self._leadership.hold()
        except Exception:
            MONITOR_LEADER.set(0)
            raise
        MONITOR_LEADER.set(1 if is_leader else 0)
        if not is_leader:
            return 0
        started = time.perf_counter()
        await self._database.measure(self._clock)
        async with self._database.write() as session:
            now, since = await self._observe(session)
            found = await self._disconnect(session, since, now)
        total = found
        while found == DISCONNECTIONS_PER_TRANSACTION:
            async with self._database.write() as session:
                found = await self._disconnect(session, since, now)
            total += found
        SWEEP_SECONDS.observe(time.perf_counter() - started)
        SERVERS_DISCONNECTED.inc(total)
        return total

    async def _observe(self, session: AsyncSession) -> tuple[datetime, datetime]:
        """Move the watermark to now. Returns now, and the moment since when whoever was not heard of is silent."""
        watermark = await queries.lock_watermark(session, EPOCH)
        # Read under the lock: a monitor that waited for another's look must not take the time to run backwards.
        now = self._clock.now()
        is_first = watermark.observed_until == EPOCH
        if now < watermark.observed_until:
            moved = await queries.bring_back_from_future(session, now)
            log.warning("the clock was set back", until=rfc3339(watermark.observed_until), hosts=moved)
        gap = gap_between(watermark.observed_until, now, self._tick_seconds)
        if gap is not None:
            session.add(Outage(started_at=gap.started_at, ended_at=gap.ended_at))
            await session.flush()
            if not is_first:
                log.warning(
                    "nothing was observed for a while; it counts for nobody's silence",
                    since=rfc3339(gap.started_at),
                    seconds=(gap.ended_at - gap.started_at).total_seconds(),
                )
        watermark.observed_until = now
        since = silent_since(now, self._timeout, await queries.gaps(session))
        await queries.forget_gaps_before(session, since)
        return now, since

    async def _disconnect(self, session: AsyncSession, since: datetime, now: datetime) -> int:
        hosts = await queries.disconnect_silent(session, since, now, DISCONNECTIONS_PER_TRANSACTION)
        if not hosts:
            return 0
        last_heard = {row.id: row.last_heartbeat_at for row in hosts}
        await alerts.fall_silent(session, last_heard, now, self._timeout.total_seconds())
        for affected in await queries.servers_on(session, list(last_heard)):
            last = last_heard[affected.host_row_id]
            kind = affected.resource.kind.value.replace("-", " ")
            record(
                session,
                affected.vault_id,
                now,
                _DISCONNECTED[affected.resource.kind],
                affected.resource,
                actor=MONITOR,
                message=f"no heartbeat from {kind} {affected.resource.name} since {rfc3339(last)}",
                severity=Severity.CRITICAL,
                data={"lastHeartbeat": rfc3339(last), "timeoutSeconds": self._timeout.total_seconds()},
            )
        return len(hosts)
